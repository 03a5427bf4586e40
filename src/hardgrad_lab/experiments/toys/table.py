"""The table of the toys: what every estimator reached, and what its gradient was worth on the way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from hardgrad_lab.experiments.toys import TOYS
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.reported import ordered
from hardgrad_lab.runs.setting import setting
from hardgrad_lab.runs.words import NO_FIGURE

HEADINGS = ("toy", "estimator", "f", "loss", "found", "log var", "bias/se", "cos", "n")
NUMERIC = tuple(range(2, len(HEADINGS)))
LEGEND = (
    "f: evaluations of the loss for one gradient, relaxed ones counted in. Loss: expected loss at the end, by "
    "enumeration. Found: share of the variables that end on the better outcome with a probability of 95 % or more. Log "
    "var: natural logarithm of the variance of one gradient, mean over the run. Bias/se: distance of the mean gradient "
    "from the enumerated one in standard errors, root mean square over the run: about 1 where there is no bias. Cos: "
    "cosine of one gradient with the enumerated one, mean; a gradient of zero counts 0. n: variables, or surveyed "
    "points, of all seeds. exact is enumeration itself. A toy's name is followed by what differs from the small budget."
)

Named = Mapping[str, Group]


def by_task(groups: Sequence[Group]) -> dict[str, dict[str, Group]]:
    """Return the groups by toy and estimator, each setting of a toy apart, in the order of the settings."""
    found: dict[str, dict[str, Group]] = {}
    for group in ordered(TOYS, groups):
        found.setdefault(name_of(group), {})[group.config["contestant"]] = group
    return found


def name_of(group: Group) -> str:
    """Return the toy's name, with its setting where that is not the small budget."""
    task, how = str(group.config["task"]), setting(TOYS, group)
    return task if how == "small" else f"{task}, {how}"


def cells(groups: Sequence[Group]) -> list[list[str]]:
    """Return the table, one row an estimator."""
    return [_row(group) for group in ordered(TOYS, groups)]


def variables(group: Group) -> int:
    """Return how many variables, or surveyed points, all runs of a group have together."""
    config = group.config
    if not config["steps"]:
        return sum(len(record.curve) for record in group.records)
    return group.n * int(config["units"] if config["problem"] == "coins" else config["rows"])


def mean(group: Group, metric: str) -> float | None:
    """Return the mean of a metric over the seeds, None where it is missing or no number."""
    values = [record.metrics[metric] for record in group.records if metric in record.metrics]
    values = [value for value in values if not math.isnan(value)]
    return statistics.fmean(values) if values else None


def _row(group: Group) -> list[str]:
    exact = group.config["estimator"] == "exact"
    found = mean(group, "reached") if group.config["steps"] else None
    return [
        name_of(group),
        group.config["contestant"],
        f"{mean(group, 'evaluations_of_f'):.0f}" if not exact else NO_FIGURE,
        _figure(mean(group, "loss"), ".5f"),
        NO_FIGURE if found is None else f"{100 * found:.0f} %",
        NO_FIGURE if exact else _figure(mean(group, "log_variance"), ".1f"),
        NO_FIGURE if exact else _figure(mean(group, "bias_in_errors"), ".1f"),
        NO_FIGURE if exact else _figure(mean(group, "cosine"), ".2f"),
        str(variables(group)),
    ]


def _figure(value: float | None, form: str) -> str:
    return NO_FIGURE if value is None else format(value, form)
