"""One run of neural sorting from its configuration, for tests of what any run does."""

from __future__ import annotations

from rich.console import Console

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.sorting import SORTING
from hardgrad_lab.experiments.bridges.sorting.config import Sorting
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.record import Run


def run_of(config: Sorting, seed: int = 0) -> Run:
    return SORTING.run(config, seed)


def reproduce(config: Sorting, seed: int, how: How, console: Console) -> Outcome:
    return SORTING.reproduce(run_of(config, seed), Root(), how, console)
