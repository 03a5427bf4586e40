"""What is said of two numbers: ours beside a published one, and one side of a claim beside the other."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from hardgrad_lab.runs.compare import BEYOND, Mean, by_chance, mean_of, standard_error
from hardgrad_lab.runs.published import Metric, Published
from hardgrad_lab.runs.record import config_hash
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.words import NOT_RUN, say_apart, say_mean

HOLDS, FAILS, CLOSE, FEW = "holds", "does not hold at this budget", "too close to say", "too few runs to say"
ENDLESS = "no finite number"
UNEQUAL = f"{NOT_RUN} at equal configuration"
Pair = tuple[Group, Group]


def published_mean(number: Published) -> Mean:
    """Return a published number as a mean."""
    return Mean(value=number.value, spread=number.spread, n=number.replications)


def compare(metric: Metric, ours: Mean, number: Published) -> str:
    """Return in words how ours stands to a published number, of a metric of which more or less is better."""
    if not math.isfinite(ours.value):
        return "short: no finite number"
    theirs = published_mean(number)
    error, apart = standard_error(ours, theirs), ours.value - theirs.value
    noise = by_chance(ours, theirs) if ours.spread is not None else BEYOND * (error or 0.0)
    if format(ours.value, metric.form) == format(theirs.value, metric.form) or abs(apart) <= noise:
        return "as published"
    better = (apart > 0) == (metric.better == "more")
    return f"{'better' if better else 'short'} by {say_apart(abs(apart), metric)}"


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


def towards(metric: Metric, better: float, worse: float) -> float:
    """Return by how much one value is better than another."""
    return worse - better if metric.better == "less" else better - worse


def verdict(metric: Metric, better: Mean, worse: Mean) -> tuple[str, str]:
    """Return the difference towards the claim with its standard error, and whether the claim holds."""
    apart = towards(metric, better.value, worse.value)
    if not math.isfinite(apart):
        return "-", ENDLESS
    sign = "-" if apart < 0 else "+"
    if better.spread is None or worse.spread is None:
        return sign + say_apart(abs(apart), metric), FEW
    said = sign + say_apart(abs(apart), metric, standard_error(better, worse))
    if abs(apart) <= by_chance(better, worse):
        return said, CLOSE
    return said, HOLDS if apart > 0 else FAILS


def unequal(pair: Pair) -> str:
    """Say so where the two sides did not see the same number of samples."""
    seen = {max(record.samples for record in group.records) for group in pair}
    return "" if len(seen) == 1 else " (not the same number of samples)"
