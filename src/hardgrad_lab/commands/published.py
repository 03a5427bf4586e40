"""``hardgrad reproduce published``: the published program of the differentiable IF, quirk by quirk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import MachineOptions, as_option, at_least, say
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.experiments.switches.program import VARIANTS, configure
from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import OptionError, chosen


def published(
    *,
    budget: Budget = "small",
    variant: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    passes: int | None = None,
    rows: int | None = None,
    batch: int | None = None,
    seed: Annotated[int, at_least(0)] = 0,
    seeds: Annotated[int, at_least(1)] = 3,
    data: Path | None = None,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
) -> int:
    """Run the published program row by row, with and without its quirks, and the batched switch on the same rows.

    Parameters
    ----------
    budget
        Smoke takes a second a run, small some ten, paper the published 51 passes.
    variant
        Only this variant; may be given more than once.
    passes
        Over the training rows, in place of the budget's.
    rows
        Training rows, the first ones; 0 takes all.
    batch
        Rows in a step of the batched switch.
    seed
        The first seed.
    seeds
        How many seeds, one run each.
    data
        Folder that holds lactose/; by default what HARDGRAD_DATA says.
    machine
        How to run. There is no checkpoint to resume from: a run takes a minute at most.
    """
    machine, console = machine or MachineOptions(), Console()
    values: dict[str, Any] = {"passes": passes, "rows": rows, "batch": batch}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        configs = [configure(budget, name, given) for name in chosen("variant", variant, VARIANTS)]
    except OptionError as error:
        raise as_option(error) from None
    from hardgrad_lab.data.root import Root
    from hardgrad_lab.experiments.switches.program.run import reproduce

    for config in configs:
        for each in range(seed, seed + seeds):
            say(reproduce(config, each, Root(folder=data), machine.how(), console), console)
    return show_report("published", machine.out, machine.out / "report", console)
