"""``hardgrad reproduce piecewise | ecg | waveshaper``: the published experiments of the differentiable IF."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import MachineOptions, as_option, at_least, run_or_stop, say
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.experiments.switches.settings import (
    CONTESTANTS,
    TASKS,
    Activation,
    Branch,
    Budget,
    Experiment,
    Setup,
    configure,
)
from hardgrad_lab.runs.options import OptionError, chosen


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Values to use in place of the budget's. Each field has the name and the meaning of a field of ``Setup``."""

    branch: Branch | None = None
    """An MLP in each range, or the network that the published program has."""
    hidden: tuple[int, ...] | None = None
    """Widths of a branch's hidden layers: --hidden 8 --hidden 8."""
    activation: Activation | None = None
    """Between them."""
    normalise: bool | None = None
    """Map each range to [-1, 1] before its branch, and the key of rivals by the outer points."""
    window: int | None = None
    """Past samples that a model sees (ecg)."""
    rows: int | None = None
    """Training rows; 0 takes all."""
    steps: int | None = None
    """Updates of the weights."""
    batch: int | None = None
    """Rows in a step."""
    lr: float | None = None
    """Peak learning rate."""
    points_lr: float | None = None
    """The same for points that learn by a lent gradient (waveshaper)."""
    evaluations: int | None = None
    """How often to measure the error in a run."""

    def given(self) -> dict[str, Any]:
        """Return the values that were given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions:
    """What to run."""

    budget: Budget = "small"
    """Smoke takes seconds a run, small some ten, paper as long as the published program."""
    task: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only this task; may be given more than once."""
    contestant: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only this model; may be given more than once."""
    seed: Annotated[int, at_least(0)] = 0
    """The first seed."""
    seeds: Annotated[int, at_least(1)] = 5
    """How many seeds, one run each."""
    data: Path | None = None
    """Folder that holds lactose/ and audio/; by default what HARDGRAD_DATA says."""


def piecewise(
    *,
    choice: Annotated[ChoiceOptions | None, Parameter(name="*")] = None,
    options: Annotated[FitOptions | None, Parameter(name="*")] = None,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Fit maps of linear pieces: the five of the author's talk (talk), four at random (toy).

    Parameters
    ----------
    choice
        What to run.
    options
        Values to use in place of the budget's.
    machine
        How to run.
    """
    return _run("piecewise", choice, options, machine)


def ecg(
    *,
    choice: Annotated[ChoiceOptions | None, Parameter(name="*")] = None,
    options: Annotated[FitOptions | None, Parameter(name="*")] = None,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Predict the electrocardiogram from the body's recoil (bcg, bcg-1) or from the voice (voice).

    Parameters
    ----------
    choice
        What to run.
    options
        Values to use in place of the budget's.
    machine
        How to run.
    """
    return _run("ecg", choice, options, machine)


def waveshaper(
    *,
    choice: Annotated[ChoiceOptions | None, Parameter(name="*")] = None,
    options: Annotated[FitOptions | None, Parameter(name="*")] = None,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Imitate a wavefolder (fold), a 3-bit crusher (crush), a dead zone (dead-zone) on real guitars and drums.

    Parameters
    ----------
    choice
        What to run.
    options
        Values to use in place of the budget's.
    machine
        How to run.
    """
    return _run("waveshaper", choice, options, machine)


COMMANDS = (piecewise, ecg, waveshaper)


def _run(
    experiment: Experiment, choice: ChoiceOptions | None, options: FitOptions | None, machine: MachineOptions | None
) -> int:
    choice, options, machine = choice or ChoiceOptions(), options or FitOptions(), machine or MachineOptions()
    console = Console()
    setups = _setups(experiment, choice, options)  # all of them first: a wrong option should not wait for an hour
    how = machine.how()
    from hardgrad_lab.experiments.switches.fit import reproduce

    for setup in setups:
        for seed in range(choice.seed, choice.seed + choice.seeds):
            run = setup.run(seed)
            say(
                run_or_stop(
                    run,
                    how,
                    # mypy infers no type for a default.
                    lambda setup=setup, seed=seed: reproduce(setup, seed, choice.data, how, console),  # type: ignore[misc]
                ),
                console,
            )
    return show_report(experiment, machine.out, machine.out / "report", console)


def _setups(experiment: Experiment, choice: ChoiceOptions, options: FitOptions) -> list[Setup]:
    try:
        tasks = chosen("task", choice.task, TASKS[experiment])
        contestants = chosen("contestant", choice.contestant, CONTESTANTS[experiment])
        return [
            configure(experiment, choice.budget, task, contestant, options.given())
            for task in tasks
            for contestant in contestants
        ]
    except OptionError as error:
        raise as_option(error) from None
