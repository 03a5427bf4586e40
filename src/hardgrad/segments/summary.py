"""What a search says of the ranges that it chose: points, scores, gains."""

from __future__ import annotations

import math

import torch

from hardgrad.segments.proxy import fit_ranges, loss_of
from hardgrad.segments.result import RangeScore
from hardgrad.segments.rows import Rows


def all_points(rows: Rows, cuts: list[int]) -> tuple[float, ...]:
    """Return the points that cuts make, the outer two included."""
    inner, last = rows.points(cuts), float(rows.key[-1])
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
    scores = []
    for i, (low, high) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        weight = float(moments.size[i])
        r2 = float(1 - losses[i] / spread[i]) if spread[i] > 1e-12 * weight else float("nan")
        loss = float(losses[i]) / (weight * rows.outputs)
        scores.append(RangeScore(_label(rows, cuts, i), high - low, loss, float(one[low:high].sum()) / weight, r2))
    return tuple(scores)


def _label(rows: Rows, cuts: list[int], i: int) -> str:
    low, high = all_points(rows, cuts)[i : i + 2]
    return f"[{low:.5g}, {high:.5g}{']' if i == len(cuts) else ')'}"


def gains_of(rows: Rows, cuts: list[int]) -> tuple[float, ...]:
    """Return for each inner point what would be lost without it."""
    values = rows.n * rows.outputs
    whole = loss_of(rows, cuts)
    return tuple((loss_of(rows, cuts[:k] + cuts[k + 1 :]) - whole) / values for k in range(len(cuts)))
