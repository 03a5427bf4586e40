"""``hardgrad reproduce``: run a published experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console

from hardgrad_lab.commands.show import show_report
from hardgrad_lab.dab.sorting import (
    Approximator,
    Optimizer,
    OptionError,
    Schedule,
    Setting,
    Sorting,
    Surrogate,
    System,
    configure,
)

if TYPE_CHECKING:
    from hardgrad_lab.runs.execute import How, Outcome

app = App(name="reproduce", help="Run a published experiment: progress, a record, a checkpoint, a report.")


class Stopped(Exception):
    """A signal stopped a run, which can go on later.

    Args:
        message: what was saved where.
        status: the exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class SortingOptions:
    """Values to use in place of the setting's. Each field has the name and the meaning of a field of ``Sorting``."""

    samples: int | None = None
    """Training samples to see."""
    batch: int | None = None
    """Samples in a step."""
    optimizer: Optimizer | None = None
    """Adam for all; or Muon for the matrices of the sorting network and Adam for the rest."""
    lr: float | None = None
    """Learning rate; under one-cycle, its peak."""
    approximator_lr: float | None = None
    """Adam's learning rate for the bridge's approximator; 0 takes lr."""
    schedule: Schedule | None = None
    """Of the learning rate."""
    clip: float | None = None
    """Largest norm of the gradient; 0 never clips."""
    width: int | None = None
    """Features of the hidden layers."""
    margin: float | None = None
    """Half width of the zero band of the hard signum."""
    surrogate: Surrogate | None = None
    """What lends the hard signum a gradient."""
    gamma: float | None = None
    """Weight of the bridge's penalty."""
    approximator: Approximator | None = None
    """Imitate all features at once (batch) or one by one (independent)."""
    centre_inputs: bool | None = None
    """Subtract 1/2 from every input."""
    near_ties: float | None = None
    """Share of the training rows in which one number is moved close to another."""
    fixed_rows: int | None = None
    """Train on so many rows, shuffled anew each epoch; 0 draws every sample afresh."""
    test_rows: int | None = None
    """Rows of the held-out test set."""
    curve_rows: int | None = None
    """How many of them to measure along the way; the end is measured on all."""
    drop_last: bool | None = None
    """Leave out rows that do not fill a batch."""
    ponder: int | None = None
    """LSTM steps with a zero input after the last number (signum-rnn)."""
    glimpses: int | None = None
    """Looks at the memory before each pointing (pointer, read-process-write)."""
    process_steps: int | None = None
    """LSTM steps over the memory (read-process-write)."""
    mask_chosen: bool | None = None
    """Rule out numbers already pointed at when decoding (pointer, read-process-write)."""
    evaluations: int | None = None
    """How often to measure the test accuracy in a run."""

    def given(self) -> dict[str, Any]:
        """Return the values that were given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _at_least(least: float) -> Parameter:
    """Return the rule that an option is a number of at least ``least``."""
    return Parameter(validator=validators.Number(gte=least))


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """How to run."""

    out: Path = Path("results")
    """Folder for records, checkpoints and the report."""
    resume: Annotated[bool, Parameter(negative="")] = False
    """Continue a run that was stopped, bit for bit."""
    force: Annotated[bool, Parameter(negative="")] = False
    """Run again, even if a record or a checkpoint is there."""
    threads: Annotated[int, _at_least(1)] = 1
    """CPU threads. More help a wide network on an idle machine, and hurt on a busy one."""
    compile: Annotated[bool, Parameter(negative="")] = False
    """Run the loss through torch.compile."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a CUDA device where there is one."""
    checkpoint_seconds: Annotated[float, _at_least(0)] = 30.0
    """Seconds between checkpoints: what a kill may cost."""
    checkpoint_steps: Annotated[int, _at_least(0)] = 0
    """Steps between checkpoints, besides; 0 goes by the clock alone."""

    def how(self) -> How:
        """Return the same for the runner."""
        from hardgrad_lab.runs.execute import How

        return How(
            results=self.out,
            resume=self.resume,
            force=self.force,
            threads=self.threads,
            compiled=self.compile,
            device=self.device,
            checkpoint_every_s=self.checkpoint_seconds,
            checkpoint_every=self.checkpoint_steps,
        )


@app.command
def sorting(
    *,
    setting: Setting = "fast",
    system: System = "signum-dense",
    length: int = 5,
    seed: Annotated[int, _at_least(0)] = 0,
    seeds: Annotated[int, _at_least(1)] = 1,
    options: Annotated[SortingOptions | None, Parameter(name="*")] = None,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Train a network with a hard layer in its middle to sort, and report.

    Parameters
    ----------
    setting
        The paper's values, or our faster ones.
    system
        Which network of table II.
    length
        How many numbers to sort; the paper has 5, 10 and 15.
    seed
        The first seed.
    seeds
        How many seeds, one run each.
    options
        Values to use in place of the setting's.
    machine
        How to run.
    """
    machine = machine or MachineOptions()
    console = Console()
    config = _configure(options or SortingOptions(), setting, system, length)
    outcomes = _run_all(config, range(seed, seed + seeds), machine.how(), console)
    for outcome in outcomes:
        if outcome.was_done:
            console.print(f"this run is done already, nothing was trained: {outcome.path}", soft_wrap=True)
            console.print("run it again with --force", highlight=False)
        else:
            console.print(f"record   {outcome.path}", highlight=False, soft_wrap=True)
    return show_report(machine.out, machine.out / "report", console)


def _configure(options: SortingOptions, setting: Setting, system: System, length: int) -> Sorting:
    try:
        return configure(setting, system, length, options.given())
    except OptionError as error:
        raise as_option(error) from None


def as_option(error: OptionError) -> ValueError:
    """Return the error as a user of the command line knows it: by the option, not the field."""
    return ValueError(f"--{error.name.replace('_', '-')} must be {error.rule}, got {error.got}")


def _run_all(config: Sorting, seeds: Sequence[int], how: How, console: Console) -> list[Outcome]:
    from hardgrad_lab.dab.sorting_run import reproduce
    from hardgrad_lab.runs.loop import Interrupted

    outcomes = []
    for seed in seeds:
        try:
            outcomes.append(reproduce(config, seed, how, console))
        except Interrupted as error:
            path = config.run(seed).checkpoint_path(how.results)
            raise Stopped(f"{error}; the run is saved in {path}", 128 + error.number) from None
    return outcomes
