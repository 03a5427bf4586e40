"""How to run any experiment: the options they share, and what a signal leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators
from rich.console import Console

from hardgrad_lab.runs.options import OWN_RUNS, OptionError
from hardgrad_lab.runs.record import Run

if TYPE_CHECKING:
    from hardgrad_lab.runs.execute import How, Outcome
    from hardgrad_lab.runs.signals import Interrupted


class Stopped(Exception):
    """A signal stopped a run, which can go on later.

    Args:
        message: what was saved where.
        status: the exit status.
        again: whether the same command with ``--resume`` goes on from there.
    """

    def __init__(self, message: str, status: int, *, again: bool = True) -> None:
        super().__init__(message)
        self.status, self.again = status, again


def at_least(least: float) -> Parameter:
    """Return the rule that an option is a number of at least ``least``."""
    return Parameter(validator=validators.Number(gte=least))


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """How to run."""

    out: Path = OWN_RUNS
    """Folder for records, checkpoints and the report."""
    resume: Annotated[bool, Parameter(negative="")] = False
    """Continue a run that was stopped, bit for bit."""
    force: Annotated[bool, Parameter(negative="")] = False
    """Run again, even if a record or a checkpoint is there."""
    threads: Annotated[int, at_least(1)] = 1
    """CPU threads. More help a wide network on an idle machine, and hurt on a busy one."""
    compile: Annotated[bool, Parameter(negative="")] = False
    """Run the loss through torch.compile."""
    bf16: Annotated[bool, Parameter(negative="")] = False
    """Compute the loss under torch.autocast in bfloat16; weights and evaluations stay in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a CUDA device where there is one."""
    checkpoint_seconds: Annotated[float, at_least(0)] = 30.0
    """Seconds between checkpoints: what a kill may cost."""
    checkpoint_steps: Annotated[int, at_least(0)] = 0
    """Steps between checkpoints, besides; 0 goes by the clock alone."""
    tensorboard: Annotated[bool, Parameter(negative="")] = False
    """Write the curve of each run for TensorBoard, to tensorboard/ in the folder of the records."""

    def how(self) -> How:
        """Return the same for the runner."""
        from hardgrad_lab.runs.execute import How

        return How(
            results=self.out,
            resume=self.resume,
            force=self.force,
            threads=self.threads,
            compiled=self.compile,
            bf16=self.bf16,
            device=self.device,
            checkpoint_every_s=self.checkpoint_seconds,
            checkpoint_every=self.checkpoint_steps,
            tensorboard=self.tensorboard,
        )


def explain(error: Exception) -> str:
    """Return an error as one line that a terminal shows as it is: an error's words may come from a stranger's file."""
    from hardgrad_lab.runs.space import explain as of_system

    said = of_system(error) if isinstance(error, OSError) else str(error)
    line = " ".join(said.split()) or type(error).__name__
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def is_first() -> bool:
    """Return whether this is the first process of a shared run, or the only one; imports no torch to find out."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def run_or_stop(run: Run, how: How, reproduce: Callable[[], Outcome]) -> Outcome:
    """Return what a run came to, or raise ``Stopped`` with where it was saved."""
    from hardgrad_lab.runs.signals import Interrupted

    try:
        return reproduce()
    except Interrupted as error:
        raise stopped(error, "the run", run.checkpoint_path(how.results)) from None


def stopped(error: Interrupted, what: str, path: Path) -> Stopped:
    """Return the end of a run that a signal stopped, with what is saved of it, in words.

    Args:
        error: the signal.
        what: was stopped, such as ``the run``.
        path: of its checkpoint.
    """
    status = 128 + error.number
    if not error.unsaved:
        return Stopped(f"{error}; {what} is saved in {path}", status)
    if path.exists():
        return Stopped(f"{error}; its last steps could not be saved ({error.unsaved}), {path} is older", status)
    return Stopped(f"{error}; {what} could not be saved: {error.unsaved}", status, again=False)


def say(outcome: Outcome, console: Console) -> None:
    """Print where the record is, or that it was there before."""
    if not is_first():
        return
    if outcome.was_done:
        console.print(f"this run is done already, nothing was trained: {outcome.path}", soft_wrap=True)
        console.print("run it again with --force", highlight=False)
    else:
        console.print(f"record   {outcome.path}", highlight=False, soft_wrap=True)


def as_option(error: OptionError) -> ValueError:
    """Return the error as a user of the command line knows it: by the option, not the field."""
    return ValueError(f"--{error.name.replace('_', '-')} must be {error.rule}, got {error.got}")
