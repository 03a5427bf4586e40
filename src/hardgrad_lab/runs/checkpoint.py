"""The checkpoint of a run under way: everything needed to continue it bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hardgrad_lab.runs.atomic import write_atomically
from hardgrad_lab.runs.record import Run

FORMAT = "hardgrad-checkpoint-1"


class CheckpointError(ValueError):
    """A checkpoint that cannot continue this run; the message names the file, the fault and the cure."""


def save(path: Path, run: Run, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file to make or replace.
        run: the run it belongs to; kept inside, so that no other run can continue from it.
        state: tensors and plain values only, as ``torch.load(weights_only=True)`` admits.
    """
    content = {"format": FORMAT, "config": run.config, "seed": run.seed, "state": state}
    write_atomically(path, lambda file: torch.save(content, file))


def load(path: Path, run: Run) -> dict[str, Any]:
    """Read the checkpoint of ``run``. The file is never changed.

    Args:
        path: a file that ``save`` wrote.
        run: the run that is to continue.

    Returns:
        The state given to ``save``, on the CPU.

    Raises:
        CheckpointError: if the file is damaged, is no checkpoint of this program, or belongs to another run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen unrelated types, depending on where the bytes end
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} cannot be read: it is truncated or damaged ({reason}). It was left as it is; put back "
            "a good copy, or start this run again with --force, which replaces it"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} was not written by this program (it lacks format {FORMAT!r}). It was left as it is; "
            "move it away, or start this run again with --force, which replaces it"
        )
    _check_same_run(path, content, run)
    state: dict[str, Any] = content["state"]
    return state


def _check_same_run(path: Path, content: dict[str, Any], run: Run) -> None:
    there, here = {**content["config"], "seed": content["seed"]}, {**run.config, "seed": run.seed}
    differing = [name for name in sorted(there | here) if there.get(name) != here.get(name)]
    if differing:
        differences = ", ".join(f"{name} {there.get(name)!r} there, {here.get(name)!r} here" for name in differing)
        raise CheckpointError(
            f"checkpoint {path} belongs to another run ({differences}). It was left as it is; give the options it was "
            "made with, or choose another --out, or start again with --force, which replaces it"
        )
