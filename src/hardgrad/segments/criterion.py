"""How many ranges: by what they lose on rows they have not seen, or by BIC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.segments.policies import Policy
from hardgrad.segments.proxy import fit, fit_ranges, loss_of
from hardgrad.segments.rows import Path, Rows
from hardgrad.segments.sums import Moments

# More ranges must gain by so many standard errors. On eight kinds of rows without ranges (100 problems each, n = 1000,
# 5 inputs, up to 6 ranges) two added none; one added some in 2 of 100 problems of one kind, and a range too many in 2
# or 3 of 30 problems with five.
ERRORS = 2.0
# Targets are taken to be known to 1e-5 of their spread: a gain below that is rounding.
FLOOR = 1e-10
# Coefficients that a searched point counts for in BIC (Hall, Osborn and Sakkas 2013 find 3 for an unknown break).
POINT = 3


@dataclass(frozen=True)
class Tried:
    """One number of ranges that was tried.

    Args:
        ranges: how many.
        score: held-out loss as a share of the targets' variance, or BIC; the lower the better.
        error: standard error of the difference between this score and the best one; None with BIC.
        points: the inner points found on all rows.
    """

    ranges: int
    score: float
    error: float | None
    points: tuple[float, ...]


def bic(rows: Rows, cuts: list[int]) -> float:
    """Return the Bayesian information criterion of the ranges that the cuts make."""
    values = rows.n * rows.outputs
    ranges = len(cuts) + 1
    coefficients = ranges * (rows.d + 1) * rows.outputs + POINT * len(cuts)
    return values * math.log(loss_of(rows, cuts) / values + FLOOR) + coefficients * math.log(rows.n)


def folds_of(group: Tensor, held_out: float | Tensor, generator: torch.Generator | None) -> Tensor:
    """Return which round holds each row out, int64 (n,); -1 for never.

    Neighbours along the key are spread over the rounds, so that each range is held out evenly; rows of one group stay
    together instead.
    """
    if isinstance(held_out, Tensor):
        return held_out.long() - 1  # round 0 holds them out
    groups = int(group.max()) + 1
    rounds = min(round(1 / held_out), groups)
    deals = -(-groups // rounds)
    dealt = torch.rand(deals, rounds, generator=generator, dtype=torch.float32).argsort(1).reshape(-1)
    return dealt[:groups][group] if groups < len(group) else dealt[: len(group)]


def held_out_losses(rows: Rows, policy: Policy, most: int, fold: Tensor, least_share: float) -> dict[int, Tensor]:
    """Return for each number of ranges what each held-out row loses, (n,), NaN in rows never held out."""
    losses: dict[int, list[Tensor]] = {}
    rounds = list(_rounds(fold))
    for learn, held in rounds:
        part = rows.take(learn, least_share)
        for ranges, loss in unseen(rows, part, policy(part, most), held).items():
            losses.setdefault(ranges, []).append(loss)
    where = torch.cat([held for _, held in rounds])
    blank = rows.key.new_full((rows.n,), torch.nan)
    return {
        ranges: blank.index_copy(0, where, torch.cat(parts))
        for ranges, parts in sorted(losses.items())
        if len(parts) == len(rounds)
    }


def _rounds(fold: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for i in range(int(fold.max()) + 1):
        yield (fold != i).nonzero()[:, 0], (fold == i).nonzero()[:, 0]


def unseen(rows: Rows, part: Rows, path: Path, held: Tensor) -> dict[int, Tensor]:
    """Return for each number of ranges what the held rows lose under the models of a part of the rows."""
    key, x, y = rows.key[held], rows.z[held, : rows.d], rows.z[held, rows.d :]
    losses = {}
    for ranges, cuts in path.items():
        points = torch.tensor([part.point(cut) for cut in cuts], dtype=torch.float64)
        y_hat = fit_ranges(part, cuts).predict(x, torch.bucketize(key, points, right=True))
        losses[ranges] = (y_hat - y).square().mean(1) * rows.weight[held]
    return losses


def fewest(losses: dict[int, Tensor], group: Tensor) -> int:
    """Return the fewest ranges that lose no more than the best by ``ERRORS`` standard errors of the difference."""
    best = min(losses.values(), key=lambda loss: float(loss.nanmean()))
    for ranges in sorted(losses):
        mean, error = mean_and_error(losses[ranges] - best, group)
        if mean <= ERRORS * error + FLOOR:
            return ranges
    raise AssertionError("the best is no worse than itself")


def mean_and_error(values: Tensor, group: Tensor) -> tuple[float, float]:
    """Return the mean of the values that are not NaN and its standard error, values of one group being one draw."""
    known = ~values.isnan()
    values, group = values[known], group[known]
    mean = values.mean()
    sums = values.new_zeros(int(group.max()) + 1).index_add(0, group, values - mean)
    return float(mean), float(sums.square().sum().sqrt() / len(values))


def smooth_losses(rows: Rows, degree: int, fold: Tensor) -> Tensor:
    """Return what each held-out row loses under one model whose coefficients are polynomials of the key, (n,)."""
    powers = torch.stack([torch.special.legendre_polynomial_p(rows.along, k) for k in range(degree + 1)], 1)
    ones = torch.cat([torch.ones_like(rows.along)[:, None], rows.z[:, : rows.d]], 1)
    x = (powers[:, :, None] * ones[:, None]).flatten(1)[:, 1:]
    losses = torch.full_like(rows.key, torch.nan)
    for learn, held in _rounds(fold):
        z, weight = torch.cat([x, rows.z[:, rows.d :]], 1)[learn], rows.weight[learn, None]
        mean = (z * weight).sum(0) / weight.sum()
        scatter = ((z - mean) * weight).T @ (z - mean)
        model = fit(Moments(weight.sum()[None], mean[None], scatter[None]), x.shape[1], rows.ridge)
        y_hat = model.predict(x[held], torch.zeros_like(held))
        losses[held] = (y_hat - rows.z[held, rows.d :]).square().mean(1) * rows.weight[held]
    return losses
