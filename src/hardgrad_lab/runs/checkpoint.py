"""The checkpoint of a run under way: everything needed to continue it bit for bit."""

from __future__ import annotations

import reprlib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hardgrad_lab.runs.atomic import write_atomically
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.space import explain
from hardgrad_lab.runs.state import difference

FORMAT = "hardgrad-checkpoint-1"
KEPT = "It was left as it is"


class CheckpointError(ValueError):
    """A checkpoint that cannot continue this run; the message names the file, the fault and the cure."""


def save(path: Path, run: Run, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file to make or replace.
        run: the run it belongs to; kept inside, so that no other run can continue from it.
        state: tensors and plain values only, as ``torch.load(weights_only=True)`` admits.
    """
    content = _content(run, state)
    write_atomically(path, lambda file: torch.save(content, file))


class Saver:
    """Checkpoints of a run that goes on where one cannot be written: the last whole one stays, and the next is tried.

    Args:
        path: of the checkpoint.
        run: it belongs to.
        warn: shows a sentence to the user.

    Attributes:
        fault: why the last checkpoint could not be written; empty if it was.
    """

    def __init__(self, path: Path, run: Run, warn: Callable[[str], None]) -> None:
        self.path, self.run, self.warn = path, run, warn
        self.fault = ""

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint of ``state``; say so once if that fails, and once if it works again."""
        before = self.fault
        try:
            save(self.path, self.run, state)
            self.fault = ""
        except OSError as error:
            self.fault = explain(error)
        if self.fault and not before:
            left = "an earlier checkpoint stays" if self.path.exists() else "there is no checkpoint yet"
            self.warn(f"this checkpoint could not be written: {self.fault}. The training goes on; {left}")
        elif before and not self.fault:
            self.warn(f"checkpoints are written again: {self.path}")


def load(path: Path, run: Run) -> dict[str, Any]:
    """Read the checkpoint of ``run``. The file is never changed, and nothing in it is run.

    Args:
        path: a file that ``save`` wrote.
        run: the run that is to continue.

    Returns:
        The state given to ``save``, on the CPU.

    Raises:
        CheckpointError: if the file is damaged, is no checkpoint of this program, or belongs to another run.
    """
    try:
        _check_size(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen unrelated types, depending on where the bytes end
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} cannot be read: it is truncated or damaged ({reason}). {KEPT}; put back "
            "a good copy, or start this run again with --force, which replaces it"
        ) from None
    if not _is_ours(content):
        raise CheckpointError(
            f"checkpoint {path} was not written by this program (it lacks format {FORMAT!r}). {KEPT}; "
            "move it away, or start this run again with --force, which replaces it"
        )
    _check_same_run(path, content, run)
    state: dict[str, Any] = content["state"]
    return state


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong in here, where a state is taken over, that the checkpoint does not hold one.

    Raises:
        CheckpointError: in place of what was raised.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        raise _no_state(path, f"{type(error).__name__}: {' '.join(str(error).split())}") from None


def check_alike(path: Path, fresh: Any, state: Any) -> None:
    """Raise a ``CheckpointError`` unless a state is built as that of the same run at its start.

    Args:
        path: of the checkpoint.
        fresh: the state at step 0.
        state: as it was read.
    """
    if apart := difference(fresh, state):
        raise _no_state(path, apart)


def _no_state(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} does not hold the state of this run ({reason[:300]}). {KEPT}; put back a good copy, or "
        "start this run again with --force, which replaces it"
    )


def _content(run: Run, state: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "config": run.config, "seed": run.seed, "state": state}


def _check_size(path: Path) -> None:
    """Raise a ValueError for a file that would grow when it is read: ``torch.save`` packs nothing."""
    with zipfile.ZipFile(path) as packed:
        entries = packed.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its parts are packed, which this program does not do")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its parts are said to be larger than the file")


def _is_ours(content: object) -> bool:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    kinds = {"config": dict, "seed": int, "state": dict}
    return all(isinstance(content.get(name), kind) for name, kind in kinds.items())


def _check_same_run(path: Path, content: dict[str, Any], run: Run) -> None:
    there, here = {**content["config"], "seed": content["seed"]}, {**run.config, "seed": run.seed}
    differing = [name for name in sorted(there | here, key=str) if not _same(there.get(name), here.get(name))]
    if differing:
        differences = ", ".join(
            f"{name} {reprlib.repr(there.get(name))} there, {reprlib.repr(here.get(name))} here" for name in differing
        )
        raise CheckpointError(
            f"checkpoint {path} belongs to another run ({differences}). {KEPT}; give the options it was "
            "made with, or choose another --out, or start again with --force, which replaces it"
        )


def _same(there: Any, here: Any) -> bool:
    return not isinstance(there, torch.Tensor) and bool(there == here)  # tensors have no single answer
