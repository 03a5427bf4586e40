"""``hardgrad reproduce toys``: the toy problems of the papers on Monte Carlo gradients."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import MachineOptions, as_option, at_least, say
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.experiments.toys import CONTESTANTS, TASKS, Budget, Toy, configure
from hardgrad_lab.runs.options import OptionError, chosen


def toys(
    *,
    budget: Budget = "small",
    task: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    contestant: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    steps: int | None = None,
    rows: int | None = None,
    draws: int | None = None,
    lr: float | None = None,
    seed: Annotated[int, at_least(0)] = 0,
    seeds: Annotated[int, at_least(1)] = 1,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Run every estimator on the toy that its paper shows, and measure its gradient against enumeration.

    Parameters
    ----------
    budget
        Smoke takes a second in all, small some ten minutes, paper three times that.
    task
        Only this toy; may be given more than once.
    contestant
        Only this estimator; may be given more than once.
    steps
        Optimiser steps, in place of the budget's, of toys that are trained.
    rows
        Copies of a variable, side by side; points to survey.
    draws
        Gradients that one measurement takes.
    lr
        Learning rate of the variables.
    seed
        The first seed.
    seeds
        How many seeds, one run each.
    machine
        How to run. There is no checkpoint to resume from: a run takes seconds.
    """
    machine, console = machine or MachineOptions(), Console()
    values: dict[str, Any] = {"steps": steps, "rows": rows, "draws": draws, "lr": lr}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        configs = _configs(budget, task, contestant, given)
    except OptionError as error:
        raise as_option(error) from None
    from hardgrad_lab.experiments.toys.run import reproduce

    for config in configs:
        for each in range(seed, seed + seeds):
            say(reproduce(config, each, machine.how(), console), console)
    return show_report("toys", machine.out, machine.out / "report", console)


def _configs(budget: Budget, tasks: tuple[str, ...], names: tuple[str, ...], given: dict[str, Any]) -> list[Toy]:
    """Return the configurations asked for; an estimator that only some toys have is left out of the others."""
    everywhere = {name: None for contestants in CONTESTANTS.values() for name in contestants}
    asked = chosen("contestant", names, everywhere)
    return [
        configure(budget, task, name, _fitting(task, given))
        for task in chosen("task", tasks, TASKS)
        for name in CONTESTANTS[task]
        if name in asked
    ]


def _fitting(task: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a toy has a use for: a survey takes no steps."""
    return {name: value for name, value in given.items() if TASKS[task]["steps"] or name not in ("steps", "lr")}
