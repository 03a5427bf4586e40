"""What a paper says is better than what, and whether our runs at equal configuration say the same."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from hardgrad_lab.report.compare import Mean, by_chance, mean_of, standard_error
from hardgrad_lab.report.experiment_table import NOT_RUN, say_apart, say_mean, setting
from hardgrad_lab.report.records import Group
from hardgrad_lab.runs.experiment import BUDGETS, Claim, Experiment, Metric
from hardgrad_lab.runs.record import config_hash

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
    """Return one row a claim on a task that has runs, in the order of ``HEADINGS``."""
    run = {group.config["task"] for group in groups}
    return [_judge(experiment, claim, groups) for claim in experiment.claims if claim.task in run]


def _judge(experiment: Experiment, claim: Claim, groups: Sequence[Group]) -> list[str]:
    """Return the row of a claim; of one with alternatives, that of the one which does best."""
    metric = next(each for each in experiment.metrics if each.name == claim.metric)
    winners = (claim.better, *claim.alternatives)
    compared = [_compared(experiment, replace(claim, better=name), metric, groups) for name in winners]
    row, _ = min(compared, key=lambda each: (_rank(each[0]), -each[1]))
    return [claim.says, claim.source, f"{claim.task}, {metric.title}", *row]


def _rank(row: list[str]) -> int:
    order = (HOLDS, CLOSE, FEW, FAILS, ENDLESS, NOT_RUN)
    return next(place for place, said in enumerate(order) if row[-1].startswith(said))


def _compared(experiment: Experiment, claim: Claim, metric: Metric, groups: Sequence[Group]) -> tuple[list[str], float]:
    """Return budget, numbers, difference and verdict as text, and the difference in the direction of the claim."""
    sides = [_runs(claim, name, groups) for name in (claim.better, claim.worse)]
    missing = [name for name, found in zip((claim.better, claim.worse), sides, strict=True) if not found]
    pair = _fairest(experiment, claim, sides[0], sides[1])
    if missing or pair is None:
        return ["-", "-", "-", f"{NOT_RUN}: {', '.join(missing)}" if missing else UNEQUAL], 0.0
    apart = towards(metric, *(group.mean(metric.name) for group in pair))
    return [setting(experiment, pair[0]), *sides_of(pair, (claim.better, claim.worse), metric)], apart


def sides_of(pair: Pair, names: tuple[str, str], metric: Metric) -> list[str]:
    """Return both sides' numbers, their difference and the verdict, as text.

    Args:
        pair: the side that should win and the other; each has the metric.
        names: of the two.
        metric: that decides.
    """
    found = [mean_of([record.metrics[metric.name] for record in group.records]) for group in pair]
    ours = "; ".join(
        f"{name} {say_mean(side, metric.form)} (n={side.n})" for name, side in zip(names, found, strict=True)
    )
    difference, said = verdict(metric, *found)
    return [ours, difference, said + unequal(pair)]


def _runs(claim: Claim, contestant: str, groups: Sequence[Group]) -> list[Group]:
    """Return the runs of one side, in whatever configuration."""
    mine = [each for each in groups if (each.config["task"], each.config["contestant"]) == (claim.task, contestant)]
    return [each for each in mine if all(claim.metric in record.metrics for record in each.records)]


def _fairest(experiment: Experiment, claim: Claim, better: list[Group], worse: list[Group]) -> Pair | None:
    """Return the two sides at equal configuration: of the largest budget, then of the most runs on the smaller side.

    What makes a contestant itself may differ.
    """
    own = {"contestant", *experiment.contestants[claim.better], *experiment.contestants[claim.worse]}
    pairs = equal_pairs(better, worse, own)
    return max(pairs, key=lambda pair: (_size(pair[0]), min(each.n for each in pair)), default=None)


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
