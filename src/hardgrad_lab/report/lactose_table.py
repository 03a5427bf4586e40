"""The table of an experiment on switches: every contestant's error, size and speed, task by task."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from hardgrad_lab.experiments.switches.settings import CONTESTANTS, TASKS, Setup, configure
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.records import Group

SOLVED = ("constant", "best-gain", "linear")  # the models without training; every record has their errors
PARTS: dict[str, tuple[str, ...]] = {
    "piecewise": (),
    "ecg": ("train", "same", "unseen"),
    "waveshaper": ("guitar", "drums"),
}
RATE = {"piecewise": 44_100.0, "ecg": 44_100 / 256, "waveshaper": 44_100.0}
LEGEND = (
    "ESR: sum of squared errors over sum of squared targets on held-out rows; 1 is what saying zero costs. Median of n "
    "seeds, least to greatest in brackets. Size: parameters in all / in one row's output. Dead: branches of all seeds "
    "that say one thing on all their rows. Speed: nanoseconds a row in blocks of 512, one thread, and how many times "
    "real time (x RT) that is. A task's name is followed by the budget and options, where they are not the small ones."
)
NO_FIGURE = "-"


def headings(experiment: str) -> tuple[str, ...]:
    """Return the table's headings."""
    points = ("points off",) if experiment == "waveshaper" else ()
    parts = tuple(f"ESR {part}" for part in PARTS[experiment])
    return ("task", "contestant", "ESR", *parts, *points, "size", "dead", "ns", "x RT", "n")


def numeric(experiment: str) -> tuple[int, ...]:
    """Return which columns hold figures."""
    return tuple(range(2, len(headings(experiment))))


def ordered(experiment: str, groups: Sequence[Group]) -> list[Group]:
    """Return the groups in the order of the tasks, settings and contestants."""
    tasks, contestants = (list(names) for names in _names(experiment))
    return sorted(
        groups,
        key=lambda group: (
            tasks.index(group.config["task"]),
            describe(group),
            contestants.index(group.config["contestant"]),
        ),
    )


def cells(experiment: str, groups: Sequence[Group]) -> list[list[str]]:
    """Return the table: the contestants of each task and setting, then what needs no training."""
    table: list[list[str]] = []
    together: dict[tuple[str, str], list[Group]] = {}
    for group in ordered(experiment, groups):
        together.setdefault((group.config["task"], describe(group)), []).append(group)
    for (task, setting), members in together.items():
        name = task if setting == "small" else f"{task}, {setting}"
        table += [_row(experiment, group, name) for group in members]
        table += [_solved(experiment, members, each, name) for each in SOLVED]
    return table


def describe(group: Group) -> str:
    """Return the budget and every value that differs from its preset, such as ``small, steps 100``."""
    config = group.config
    try:
        preset: Setup | None = configure(
            config["experiment"], config["budget"], config["task"], config["contestant"], {}
        )
    except OptionError:
        preset = None
    differing = [
        f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in config.items()
        if preset is not None and _plain(getattr(preset, name, None)) != _plain(value)
    ]
    return ", ".join([str(config["budget"]), *differing])


def middle(group: Group, metric: str) -> float | None:
    """Return the median of a metric over the seeds that have it."""
    values = [record.metrics[metric] for record in group.records if metric in record.metrics]
    return statistics.median(values) if values else None


def _names(experiment: str) -> tuple[dict[str, object], dict[str, object]]:
    known = {str(name): tasks for name, tasks in TASKS.items()}
    models = {str(name): contestants for name, contestants in CONTESTANTS.items()}
    return dict(known[experiment]), dict(models[experiment])


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(experiment: str, group: Group, task: str) -> list[str]:
    ns = middle(group, "ns_per_row_512")
    points = middle(group, "points_off")
    return [
        task,
        group.config["contestant"],
        spread([record.metrics["esr"] for record in group.records]),
        *(_figure(middle(group, f"esr_{part}")) for part in PARTS[experiment]),
        *([NO_FIGURE if points is None else f"{100 * points:.1f} %"] if experiment == "waveshaper" else []),
        f"{middle(group, 'parameters'):.0f} / {middle(group, 'active_parameters'):.0f}",
        f"{sum(record.metrics['dead_branches'] for record in group.records):.0f}",
        NO_FIGURE if ns is None else f"{ns:,.0f}",
        NO_FIGURE if ns is None else f"{1e9 / RATE[experiment] / ns:,.0f}",
        str(group.n),
    ]


def _solved(experiment: str, groups: Sequence[Group], name: str, task: str) -> list[str]:
    """Return the row of a model without training, from the largest group: its rows are those of all others."""
    group = max(groups, key=lambda group: group.n)
    columns = len(headings(experiment))
    figures = [
        spread([record.metrics[f"esr_{name}"] for record in group.records]),
        *(_figure(middle(group, f"esr_{name}_{part}")) for part in PARTS[experiment]),
    ]
    rest = [NO_FIGURE] * (columns - 2 - len(figures) - 1)
    return [task, name, *figures, *rest, str(group.n)]


def by_contestant(groups: Sequence[Group]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the ESR of every contestant, a column for each task: headings and cells; of the small budget."""
    small = [group for group in groups if describe(group) == "small"]
    tasks = list(dict.fromkeys(group.config["task"] for group in small))
    contestants = list(dict.fromkeys(group.config["contestant"] for group in small))
    return ("contestant", *tasks), [[each, *(_error(small, task, each) for task in tasks)] for each in contestants]


def _error(groups: Sequence[Group], task: str, contestant: str) -> str:
    for group in groups:
        if (group.config["task"], group.config["contestant"]) == (task, contestant):
            return spread([record.metrics["esr"] for record in group.records])
    return NO_FIGURE


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the greatest in brackets where they differ from it as printed."""
    low, mid, high = (_figure(value) for value in (min(values), statistics.median(values), max(values)))
    return mid if low == high else f"{mid} [{low}, {high}]"


def _figure(value: float | None) -> str:
    """Return two significant digits, such as 1.4e-06 and 0.083, and three of what is near 1 or above."""
    if value is None or math.isnan(value):
        return NO_FIGURE
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) >= 0.5 else f"{value:.2g}"
