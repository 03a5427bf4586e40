"""What a paper says that ours is held against: its numbers, and that one contestant is better than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the table.

    Args:
        name: the key in a record's metrics.
        title: above the column; what follows a comma is the unit, as in ``bound, nats``.
        form: a format specification, such as ``.2f`` or ``.2%``.
        better: whether ``more`` or ``less`` of it is better; None if neither.
    """

    name: str
    title: str
    form: str = ".3f"
    better: Literal["more", "less"] | None = "more"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number that a paper gives.

    Args:
        value: in the unit of the metric; an accuracy is from 0 to 1.
        spread: its standard deviation, where one is given.
        replications: how many runs, where it is given.
        source: where it stands, such as ``table V``.
    """

    value: float
    spread: float | None = None
    replications: int | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That one contestant is better than another, as a paper says it.

    Args:
        says: the claim in our own words.
        source: where the paper makes it.
        task: on which task.
        metric: by which metric.
        better: the contestant that should win.
        worse: the other.
        alternatives: contestants of which any may win in the place of ``better``, where the paper says "one of them".
        aside: values that mean nothing to the winner, so that a rival with another is at equal configuration too.
    """

    says: str
    source: str
    task: str
    metric: str
    better: str
    worse: str
    alternatives: Sequence[str] = ()
    aside: Sequence[str] = ()
