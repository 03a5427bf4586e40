"""What a paper says is better than what, and whether our runs at equal configuration say the same."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from hardgrad_lab.report.experiment_table import NOT_RUN, say_apart, say_mean, setting
from hardgrad_lab.runs.compare import Mean, by_chance, mean_of, standard_error
from hardgrad_lab.runs.experiment import BUDGETS, Claim, Experiment, Metric
from hardgrad_lab.runs.record import config_hash
from hardgrad_lab.runs.records import Group

HEADINGS = ("what the paper says", "where", "task, measure", "budget", "ours", "difference", "")
HOLDS, FAILS, CLOSE, FEW = "holds", "does not hold at this budget", "too close to say", "too few runs to say"
ENDLESS = "no finite number"
UNEQUAL = f"{NOT_RUN} at equal configuration"
LEGEND = (
    "Judged at the largest budget that has both sides at equal configuration. Difference: of the means, in the "
    "direction of the claim, ± its standard error. It counts where chance would show it less than once in twenty times "
    "(Welch's test); a side of one run has no spread to judge by."
)
Pair = tuple[Group, Group]


def judged(experiment: Experiment, groups: Sequence[Group]) -> list[list[str]]:
    """Return the rows of the claims on tasks that have runs, in the order of ``HEADINGS``.

    A claim has one row for each configuration of the largest budget in which both sides ran.
    """
    run = {group.config["task"] for group in groups}
    return [row for claim in experiment.claims if claim.task in run for row in _judge(experiment, claim, groups)]


def _judge(experiment: Experiment, claim: Claim, groups: Sequence[Group]) -> list[list[str]]:
    """Return the rows of a claim; of one with alternatives, those of the one which does best."""
    metric = next(each for each in experiment.metrics if each.name == claim.metric)
    said = [claim.says, claim.source, f"{claim.task}, {metric.title}"]
    sides = {name: _runs(claim, name, groups) for name in (claim.better, *claim.alternatives, claim.worse)}
    pairs = [pair for name in (claim.better, *claim.alternatives) for pair in _pairs(experiment, claim, name, sides)]
    if not pairs:
        missing = [name for name, found in sides.items() if not found]
        return [[*said, "-", "-", "-", f"{NOT_RUN}: {', '.join(missing)}" if missing else UNEQUAL]]
    largest = max(_size(pair[0]) for pair in pairs)
    best: dict[str, tuple[tuple[int, float], list[str]]] = {}
    for pair in (pair for pair in pairs if _size(pair[0]) == largest):
        settings = [setting(experiment, group) for group in pair]
        row = [" against ".join(dict.fromkeys(settings)), *sides_of(pair, metric)]
        apart = towards(metric, *(group.mean(metric.name) for group in pair))
        rank = (_rank(row[-1]), -apart)
        if row[0] not in best or rank < best[row[0]][0]:
            best[row[0]] = rank, row
    return [[*said, *row] for _, row in best.values()]


def _rank(verdict: str) -> int:
    return next(place for place, said in enumerate((HOLDS, CLOSE, FEW, FAILS, ENDLESS)) if verdict.startswith(said))


def _pairs(experiment: Experiment, claim: Claim, winner: str, sides: Mapping[str, list[Group]]) -> list[Pair]:
    """Return both sides wherever their configurations are equal; what makes a contestant itself may differ."""
    own = {"contestant", *experiment.contestants[winner], *experiment.contestants[claim.worse], *claim.aside}
    return equal_pairs(sides[winner], sides[claim.worse], own)


def sides_of(pair: Pair, metric: Metric, name: str = "contestant") -> list[str]:
    """Return both sides' numbers, their difference and the verdict, as text.

    Args:
        pair: the side that should win and the other; each has the metric.
        metric: that decides.
        name: of the value that says who is who.
    """
    found = [mean_of([record.metrics[metric.name] for record in group.records]) for group in pair]
    ours = "; ".join(
        f"{group.config[name]} {say_mean(side, metric.form)} (n={side.n})"
        for group, side in zip(pair, found, strict=True)
    )
    difference, said = verdict(metric, *found)
    return [ours, difference, said + unequal(pair)]


def _runs(claim: Claim, contestant: str, groups: Sequence[Group]) -> list[Group]:
    """Return the runs of one side, in whatever configuration."""
    mine = [each for each in groups if (each.config["task"], each.config["contestant"]) == (claim.task, contestant)]
    return [each for each in mine if all(claim.metric in record.metrics for record in each.records)]


def equal_pairs(better: Sequence[Group], worse: Sequence[Group], own: Collection[str]) -> list[Pair]:
    """Return the pairs of configurations that are equal but for the values that make the contestants themselves.

    Args:
        better: the groups of one side.
        worse: those of the other.
        own: the names of the values that may differ.
    """

    def shared(group: Group) -> str:
        return config_hash({name: value for name, value in group.config.items() if name not in own})

    return [(one, other) for one in better for other in worse if shared(one) == shared(other)]


def _size(group: Group) -> int:
    return BUDGETS.index(group.config["budget"])


def towards(metric: Metric, better: float, worse: float) -> float:
    """Return by how much one value is better than another."""
    return worse - better if metric.better == "less" else better - worse


def verdict(metric: Metric, better: Mean, worse: Mean) -> tuple[str, str]:
    """Return the difference towards the claim with its standard error, and whether the claim holds."""
    apart = towards(metric, better.value, worse.value)
    if not math.isfinite(apart):
        return "-", ENDLESS
    said = ("-" if apart < 0 else "+") + say_apart(abs(apart), metric.form)
    if better.spread is None or worse.spread is None:
        return said, FEW
    error = standard_error(better, worse) or 0.0
    said += f" ± {say_apart(error, metric.form)}"
    if abs(apart) <= by_chance(better, worse):
        return said, CLOSE
    return said, HOLDS if apart > 0 else FAILS


def unequal(pair: Pair) -> str:
    """Say so where the two sides did not see the same number of samples."""
    seen = {max(record.samples for record in group.records) for group in pair}
    return "" if len(seen) == 1 else " (not the same number of samples)"
