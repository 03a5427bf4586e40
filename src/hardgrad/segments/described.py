"""What a search says of the ranges that it chose: scores, gains, and what a smooth model would have done."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad.segments.criterion import Tried, bic, mean_and_error, smooth_losses
from hardgrad.segments.found import RangeScore
from hardgrad.segments.proxy import fit_ranges, loss_of
from hardgrad.segments.rows import Path, Rows

SMOOTH = 256  # columns of the smooth model at most: its fit costs their square


def tried_by_bic(rows: Rows, path: Path) -> tuple[Tried, ...]:
    """Return each number of ranges with its BIC."""
    return tuple(Tried(ranges, bic(rows, cuts), None, _points(rows, cuts)) for ranges, cuts in path.items())


def tried_on_held_out(rows: Rows, path: Path, losses: dict[int, Tensor], group: Tensor) -> tuple[Tried, ...]:
    """Return each number of ranges with its held-out loss."""
    best = min(losses.values(), key=lambda loss: float(loss.nanmean()))
    return tuple(
        Tried(ranges, float(loss.nanmean()), mean_and_error(loss - best, group)[1], _points(rows, path[ranges]))
        for ranges, loss in losses.items()
    )


def _points(rows: Rows, cuts: list[int]) -> tuple[float, ...]:
    return tuple(rows.point(cut) for cut in cuts)


def all_points(rows: Rows, cuts: list[int]) -> tuple[float, ...]:
    """Return the points that cuts make, the outer two included."""
    inner, last = _points(rows, cuts), float(rows.key[-1])
    if inner and inner[-1] == last:  # the last two keys are neighbours among the numbers
        last = math.nextafter(last, math.inf)
    return float(rows.key[0]), *inner, last


def scores_of(rows: Rows, cuts: list[int]) -> tuple[RangeScore, ...]:
    """Return how well the model of each range does."""
    edges = torch.tensor([0, *cuts, rows.n])
    moments = rows.sums.between(edges[:-1], edges[1:])
    spread = moments.scatter[:, rows.d :, rows.d :].diagonal(dim1=1, dim2=2).sum(1)
    losses, x, y = fit_ranges(rows, cuts).loss, rows.z[:, : rows.d], rows.z[:, rows.d :]
    one = (fit_ranges(rows, []).predict(x, torch.zeros(rows.n, dtype=torch.int64)) - y).square().mean(1) * rows.weight
    found = []
    for i, (low, high) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        weight = float(moments.size[i])
        r2 = float(1 - losses[i] / spread[i]) if spread[i] > 1e-12 * weight else float("nan")
        loss = float(losses[i]) / (weight * rows.outputs)
        found.append(RangeScore(_label(rows, cuts, i), high - low, loss, float(one[low:high].sum()) / weight, r2))
    return tuple(found)


def _label(rows: Rows, cuts: list[int], i: int) -> str:
    low, high = all_points(rows, cuts)[i : i + 2]
    return f"[{low:.5g}, {high:.5g}{']' if i == len(cuts) else ')'}"


def gains_of(rows: Rows, cuts: list[int]) -> tuple[float, ...]:
    """Return for each inner point what would be lost without it."""
    values = rows.n * rows.outputs
    whole = loss_of(rows, cuts)
    return tuple((loss_of(rows, cuts[:k] + cuts[k + 1 :]) - whole) / values for k in range(len(cuts)))


def smooth_of(rows: Rows, ranges: int, fold: Tensor) -> float | None:
    """Return the held-out loss of one smooth model that bends as often as the ranges; None where it has no rows."""
    degree = min(ranges - 1, SMOOTH // (rows.d + 1) - 1, (int((fold != 0).sum()) // 2) // (rows.d + 1) - 1)
    return float(smooth_losses(rows, degree, fold).nanmean()) if degree > 0 else None
