"""The number of ranges, chosen among those that were tried."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from hardgrad.segments.criterion import Tried, bic, fewest, held_out_losses, mean_and_error, smooth_losses
from hardgrad.segments.policies import Policy
from hardgrad.segments.rows import Path, Rows

SMOOTH = 256  # columns of the smooth model at most: its fit costs their square


class Choice(NamedTuple):
    """How many ranges, what was tried, and the held-out loss of one smooth model, as in ``FoundRanges``."""

    ranges: int
    tried: tuple[Tried, ...]
    smooth: float | None


def by_bic(rows: Rows, path: Path) -> Choice:
    """Return the number of ranges with the least BIC."""
    tried = tuple(Tried(ranges, bic(rows, cuts), None, rows.points(cuts)) for ranges, cuts in path.items())
    return Choice(min(tried, key=lambda one: one.score).ranges, tried, None)


def by_held_out(
    rows: Rows, path: Path, policy: Policy, most: int, fold: Tensor, group: Tensor, least_share: float
) -> Choice:
    """Return the fewest ranges that lose little more than the best on rows held out."""
    losses = held_out_losses(rows, policy, most, fold, least_share)
    losses = {ranges: loss for ranges, loss in losses.items() if ranges in path}
    best = min(losses.values(), key=lambda loss: float(loss.nanmean()))
    tried = tuple(
        Tried(ranges, float(loss.nanmean()), mean_and_error(loss - best, group)[1], rows.points(path[ranges]))
        for ranges, loss in losses.items()
    )
    ranges = fewest(losses, group)
    return Choice(ranges, tried, _smooth(rows, ranges, fold))


def _smooth(rows: Rows, ranges: int, fold: Tensor) -> float | None:
    """Return the held-out loss of one smooth model that bends as often as the ranges; None where it has no rows."""
    degree = min(ranges - 1, SMOOTH // (rows.d + 1) - 1, (int((fold != 0).sum()) // 2) // (rows.d + 1) - 1)
    return float(smooth_losses(rows, degree, fold).nanmean()) if degree > 0 else None
