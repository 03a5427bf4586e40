"""Runs that belong together, and what they should take: one entry of a plan file, or one experiment of a budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import chosen
from hardgrad_lab.runs.record import Run


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that take about the same time each.

    Args:
        title: what a list calls it.
        runs: in their order.
        priority: 1 is done before 2.
        core_minutes: that one of them should take; None where nobody said.
    """

    title: str
    runs: Sequence[Run]
    priority: int = 1
    core_minutes: float | None = None


def groups_of(budget: Budget, only: Iterable[str] = (), seeds: int = 0) -> list[Group]:
    """Return what a budget makes of each experiment.

    Args:
        budget: smoke, small or paper.
        only: names of experiments; none takes all.
        seeds: of each configuration, from 0; 0 takes as many as the experiment's budget has.

    Raises:
        OptionError: if a name is unknown.
    """
    found = []
    for one in map(experiment, chosen("only", only, LIST)):
        runs = [run for seed in range(seeds or one.seeds[budget]) for run in one.runs(budget, seed)]
        found.append(Group(title=one.name, runs=runs))
    return found


class Estimates:
    """What runs should take: what a plan expects of them, corrected by what those took that are done.

    A group is corrected by its own runs where one of them is done, else by those of its experiment, else by all.

    Args:
        groups: all of the plan.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self.group = {run.name: group for group in groups for run in group.runs}
        self.done: dict[str, tuple[Run, float]] = {}
        self.known: dict[str, float | None] = {}

    def add(self, run: Run, seconds: float) -> None:
        """Count a run that took so long."""
        self.done[run.name] = run, seconds
        self.known.clear()

    def of(self, run: Run) -> float | None:
        """Return what a run should take from its start, in seconds; None where nothing is known."""
        if run.name not in self.known:
            self.known[run.name] = self._of(run)
        return self.known[run.name]

    def _of(self, run: Run) -> float | None:
        group = self.group[run.name]
        alike = (
            [name for name in self.done if self.group[name] is group],
            [name for name, (other, _) in self.done.items() if other.experiment == run.experiment],
            list(self.done),
        )
        for names in alike:
            if names:
                took = sum(self.done[name][1] for name in names)
                return _expected(group) * took / sum(_expected(self.group[name]) for name in names)
        return None if group.core_minutes is None else _expected(group)


def _expected(group: Group) -> float:
    """Return the seconds expected of a run; where nobody said, all are taken for equally long."""
    return 1.0 if group.core_minutes is None else 60 * group.core_minutes
