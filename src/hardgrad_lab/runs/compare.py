"""Two means beside each other: how far apart they are, and whether their noise explains it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

BEYOND = 2.0  # standard errors; a difference of more is more than noise


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over runs.

    Args:
        value: the mean.
        spread: sample standard deviation over the runs; None where there is none.
        n: how many runs; None where nobody says.
    """

    value: float
    spread: float | None
    n: int | None


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of one or more values, and their sample standard deviation if there are several."""
    spread = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
    return Mean(value=math.fsum(values) / len(values), spread=spread, n=len(values))


def standard_error(a: Mean, b: Mean) -> float | None:
    """Return the standard error of the difference of two means; None where neither has a spread.

    A side of one run has no spread of its own: then the other side's stands for it. A published mean of which only the
    number is known counts as exact.

    Example:
        >>> standard_error(Mean(value=1.0, spread=0.3, n=9), Mean(value=2.0, spread=0.4, n=4))
        0.223606797749979
    """
    if a.spread is None and b.spread is None:
        return None
    variance = 0.0
    for side, other in ((a, b), (b, a)):
        spread = other.spread if side.spread is None and side.n == 1 else side.spread
        variance += (spread or 0.0) ** 2 / (side.n or 1)
    return math.sqrt(variance)


def by_chance(a: Mean, b: Mean) -> float:
    """Return the difference that two equal means of so many runs show by chance once in twenty times.

    It is a multiple of the standard error, and a large one where the runs are few: 4.3 for two and two of equal spread.

    Args:
        a: mean of two runs or more.
        b: another.

    Source: Welch 1947, the generalization of Student's problem, equation 28; Satterthwaite's degrees of freedom.
    """
    from scipy.special import stdtrit  # not for every report

    parts = [((side.spread or 0.0) ** 2 / (side.n or 1), (side.n or 2) - 1) for side in (a, b)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(part**2 / runs for part, runs in parts)
    return float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
