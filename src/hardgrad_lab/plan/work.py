"""One job, in this process: through the experiment's own ``reproduce``, from its checkpoint if there is one."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments import experiment
from hardgrad_lab.runs.record import Run

if TYPE_CHECKING:
    from hardgrad_lab.runs.execute import How, Outcome

LINE = 120  # columns of a log
PATIENCE_S = 60.0  # for another process to leave a job


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How all jobs of a plan are done.

    Args:
        out: folder of all records; each experiment has a folder in it.
        data: folder that holds the data sets; None takes what ``HARDGRAD_DATA`` says.
        download: fetch data sets that are missing.
        threads: CPU threads of a job.
        device: auto, cpu or cuda.
        compiled: run losses through ``torch.compile``.
        bf16: compute losses under ``torch.autocast`` in bfloat16.
        checkpoint_every_s: seconds between checkpoints.
        checkpoint_every: steps between checkpoints; 0 goes by the clock alone.
    """

    out: Path
    data: Path | None = None
    download: bool = False
    threads: int = 1
    device: str = "auto"
    compiled: bool = False
    bf16: bool = False
    checkpoint_every_s: float = 30.0
    checkpoint_every: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain JSON values."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Setup:
        """Return what ``as_json`` was made from."""
        data = None if values["data"] is None else Path(values["data"])
        return cls(**{**values, "out": Path(values["out"]), "data": data})


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a job.

    Args:
        status: done; failed; or stopped by a signal, to go on another time.
        seconds: that it took: where it is done, over all its sittings, as its record says; else here.
        error: what went wrong, where it failed; or why its last steps are not saved, where it was stopped.
    """

    status: Literal["done", "failed", "stopped"]
    seconds: float
    error: str = ""


def work(run: Run, setup: Setup, results: Path, console: Console) -> Result:
    """Do one job; an error of its own is a result, not an exception.

    Args:
        run: what to do.
        setup: how.
        results: folder of its record.
        console: where its progress is shown.
    """
    from hardgrad_lab.runs.execute import How
    from hardgrad_lab.runs.signals import Interrupted

    began = time.monotonic()
    how = How(
        results=results,
        resume=True,
        threads=setup.threads,
        compiled=setup.compiled,
        bf16=setup.bf16,
        device=setup.device,
        checkpoint_every_s=setup.checkpoint_every_s,
        checkpoint_every=setup.checkpoint_every,
    )
    try:
        outcome = _patiently(run, Root(folder=setup.data, download=setup.download), how, console)
    except Interrupted as stopped:
        return Result(status="stopped", seconds=time.monotonic() - began, error=stopped.unsaved)
    except Exception as error:  # whatever an experiment raises, the plan goes on without it
        console.print_exception(width=LINE)
        message = str(error).strip() or type(error).__name__
        return Result(status="failed", seconds=time.monotonic() - began, error=message)
    return Result(status="done", seconds=outcome.record.seconds)


def _patiently(run: Run, root: Root, how: How, console: Console) -> Outcome:
    """Do the job once nobody else is at it: workers of a plan that was killed are, until they have saved it."""
    from hardgrad_lab.runs.lock import InUseError

    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            return experiment(run.experiment).reproduce(run, root, how, console)
        except InUseError as error:
            if time.monotonic() > ends:
                raise
            console.print(f"{error}; waiting", style="yellow", markup=False, highlight=False, soft_wrap=True)
            time.sleep(1.0)
