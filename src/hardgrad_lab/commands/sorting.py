"""``hardgrad reproduce sorting``: the published experiment of differentiable approximation bridges."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import MachineOptions, as_option, at_least, run_or_stop, say
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.experiments.bridges.sorting import (
    BUDGETS,
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
from hardgrad_lab.runs.experiment import Budget


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


def sorting(
    *,
    budget: Budget = "small",
    setting: Setting | None = None,
    system: System = "signum-dense",
    length: int = 5,
    seed: Annotated[int, at_least(0)] = 0,
    seeds: Annotated[int, at_least(1)] = 1,
    options: Annotated[SortingOptions | None, Parameter(name="*")] = None,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Train a network with a hard layer in its middle to sort, and report.

    Parameters
    ----------
    budget
        Smoke cuts a fast run short, small is our faster setting, paper the paper's.
    setting
        The paper's values, or our faster ones, in place of the budget's.
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
    config = _configure(options or SortingOptions(), budget, setting, system, length)
    how = machine.how()
    from hardgrad_lab.experiments.bridges.sorting.run import reproduce

    for each in range(seed, seed + seeds):
        run = config.run(each)
        say(run_or_stop(run, how, lambda each=each: reproduce(config, each, how, console)), console)  # type: ignore[misc]  # mypy infers no type for a default
    return show_report("sorting", machine.out, machine.out / "report", console)


def _configure(
    options: SortingOptions, budget: Budget, setting: Setting | None, system: System, length: int
) -> Sorting:
    usual, values = BUDGETS[budget]
    try:
        return configure(setting or usual, system, length, {**values, **options.given()})
    except OptionError as error:
        raise as_option(error) from None
