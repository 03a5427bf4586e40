"""The table of an experiment on switches: every contestant's error, size and speed, task by task."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.reported import ordered
from hardgrad_lab.runs.setting import setting
from hardgrad_lab.runs.words import NO_FIGURE

SOLVED = ("constant", "best-gain", "linear")  # the models without training; every record has their errors
LEGEND = (
    "ESR: sum of squared errors over sum of squared targets on held-out rows; 1 is what saying zero costs. Median of n "
    "seeds, least to greatest in brackets. Size: parameters in all / in one row's output. Dead: branches of all seeds "
    "that say one thing on all their rows. Speed: nanoseconds a row in blocks of 512, one thread, and how many times "
    "real time (x RT) that is. A task's name is followed by the budget and options, where they are not the small ones."
)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the table of one experiment has.

    Args:
        parts: test rows with an error of their own, by name.
        rate: samples a second of what is modeled, for the speed as a multiple of real time.
        points: whether there is a column of how far a switch's points are off.
    """

    parts: tuple[str, ...] = ()
    rate: float
    points: bool = False

    @property
    def headings(self) -> tuple[str, ...]:
        """The table's headings."""
        points = ("points off",) if self.points else ()
        parts = tuple(f"ESR {part}" for part in self.parts)
        return ("task", "contestant", "ESR", *parts, *points, "size", "dead", "ns", "x RT", "n")

    @property
    def numeric(self) -> tuple[int, ...]:
        """Which columns hold figures."""
        return tuple(range(2, len(self.headings)))


def by_task(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of each task, in the given order."""
    tasks: dict[str, list[Group]] = {}
    for group in groups:
        tasks.setdefault(group.config["task"], []).append(group)
    return tasks


def cells(experiment: Experiment, groups: Sequence[Group], columns: Columns) -> list[list[str]]:
    """Return the table: the contestants of each task and setting, then what needs no training."""
    table: list[list[str]] = []
    together: dict[tuple[str, str], list[Group]] = {}
    for group in ordered(experiment, groups):
        together.setdefault((group.config["task"], setting(experiment, group)), []).append(group)
    for (task, budget), members in together.items():
        name = task if budget == "small" else f"{task}, {budget}"
        table += [_row(group, columns, name) for group in members]
        table += [_solved(members, columns, model, name) for model in SOLVED]
    return table


def by_contestant(experiment: Experiment, groups: Sequence[Group]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the ESR of every contestant, a column for each task: headings and cells; of the small budget."""
    small = [group for group in groups if setting(experiment, group) == "small"]
    tasks = list(dict.fromkeys(group.config["task"] for group in small))
    contestants = list(dict.fromkeys(group.config["contestant"] for group in small))
    return ("contestant", *tasks), [[name, *(_error(small, task, name) for task in tasks)] for name in contestants]


def middle(group: Group, metric: str) -> float | None:
    """Return the median of a metric over the seeds that have it."""
    values = [record.metrics[metric] for record in group.records if metric in record.metrics]
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the greatest in brackets where they differ from it as printed."""
    low, mid, high = (_figure(value) for value in (min(values), statistics.median(values), max(values)))
    return mid if low == high else f"{mid} [{low}, {high}]"


def _row(group: Group, columns: Columns, task: str) -> list[str]:
    ns = middle(group, "ns_per_row_512")
    points = middle(group, "points_off")
    return [
        task,
        group.config["contestant"],
        _spread_of(group, "esr"),
        *(_figure(middle(group, f"esr_{part}")) for part in columns.parts),
        *([NO_FIGURE if points is None else f"{100 * points:.1f} %"] if columns.points else []),
        f"{middle(group, 'parameters'):.0f} / {middle(group, 'active_parameters'):.0f}",
        f"{sum(record.metrics['dead_branches'] for record in group.records):.0f}",
        NO_FIGURE if ns is None else f"{ns:,.0f}",
        NO_FIGURE if ns is None else f"{1e9 / columns.rate / ns:,.0f}",
        str(group.n),
    ]


def _solved(groups: Sequence[Group], columns: Columns, model: str, task: str) -> list[str]:
    """Return the row of a model without training, from the largest group: its rows are those of all others."""
    group = max(groups, key=lambda group: group.n)
    figures = [
        _spread_of(group, f"esr_{model}"),
        *(_figure(middle(group, f"esr_{model}_{part}")) for part in columns.parts),
    ]
    rest = [NO_FIGURE] * (len(columns.headings) - 2 - len(figures) - 1)
    return [task, model, *figures, *rest, str(group.n)]


def _error(groups: Sequence[Group], task: str, contestant: str) -> str:
    for group in groups:
        if (group.config["task"], group.config["contestant"]) == (task, contestant):
            return _spread_of(group, "esr")
    return NO_FIGURE


def _spread_of(group: Group, metric: str) -> str:
    return spread([record.metrics[metric] for record in group.records])


def _figure(value: float | None) -> str:
    """Return two significant digits, such as 1.4e-06 and 0.083, and three of what is near 1 or above."""
    if value is None or math.isnan(value):
        return NO_FIGURE
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) >= 0.5 else f"{value:.2g}"
