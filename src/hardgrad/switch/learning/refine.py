"""Learned points placed by loss differences: a gradient row by row, or all at once over many rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.learning.gradient import rows_in_bands
from hardgrad.switch.rows import Routed

RowLoss = Callable[[Tensor, Tensor], Tensor]


def loss_of_points(branches: Branches, ranges: LearnedRanges, batch: Routed, target: Tensor, loss: RowLoss) -> Tensor:
    """Return a zero whose gradient moves the points by the difference of two branches' losses; target: (M, ...)."""
    with torch.no_grad():
        row, edge, other, weight = rows_in_bands(ranges, batch.key, batch.branch)
        rows, target = batch.rows.detach()[row], target[row]
        theirs = _row_loss("threshold_loss", loss, branches.predict(rows, other), target)
        own = _row_loss("threshold_loss", loss, branches.predict(rows, batch.branch[row]), target)
        slope = torch.zeros_like(ranges.inner)
        slope = slope.index_add(0, edge, weight * (theirs - own).double() / max(len(batch.rows), 1))
    return (slope * (ranges.inner - ranges.inner.detach())).sum()


@dataclass(frozen=True)
class Refined:
    """What ``refine`` did.

    Args:
        before: the points before.
        after: the points now.
        loss_before: mean loss of the rows before.
        loss_after: mean loss of the rows, by the same branches, now.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    loss_before: float
    loss_after: float


@torch.inference_mode(False)
@torch.no_grad()
def place_points(
    branches: Branches, ranges: LearnedRanges, batch: Routed, target: Tensor, loss: RowLoss, window: float
) -> Refined:
    """Set all inner points to where the branches, as they are, have the least loss; target: (M, ...)."""
    before = ranges.points
    order = batch.key.double().argsort()
    rows, key, index, target = batch.rows[order], batch.key.double()[order], batch.branch[order], target[order]
    costs = [
        _row_loss("refine", loss, branches.predict(rows, torch.full_like(index, i)), target).double()
        for i in range(len(ranges))
    ]
    table = torch.stack(costs)
    cuts = _best_cuts(table, key, before, [window * reach for reach in ranges.reach])
    if cuts is not None:
        ranges.inner.copy_(torch.stack([_between(key, cut) for cut in cuts]) if cuts else ranges.inner)
    now = ranges.index(key)
    return Refined(
        before, ranges.points, *(table.gather(0, where.unsqueeze(0)).mean().item() for where in (index, now))
    )


def _best_cuts(costs: Tensor, key: Tensor, points: tuple[float, ...], window: list[float]) -> list[int] | None:
    """Return after how many rows each range ends, or None if no cut is within the windows."""
    places = torch.cat([key[:1], (key[1:] + key[:-1]) / 2, key[-1:]])
    allowed = torch.ones(len(key) + 1, dtype=torch.bool, device=key.device)
    allowed[1:-1] = key[1:] > key[:-1]  # no point can part equal keys
    allowed[0] = allowed[-1] = False
    totals = torch.cat([costs.new_zeros(len(costs), 1), costs.cumsum(1)], 1)  # of the first m rows, by each branch
    best, back = totals[0], []
    for i, reach in enumerate(window):
        open_ = allowed & ((places - points[i + 1]).abs() <= reach)
        value, at = (best - totals[i + 1]).masked_fill(~open_, torch.inf).cummin(0)
        # A range holds a row at least, so that its point is beyond the last one.
        best = totals[i + 1] + torch.cat([value.new_full((1,), torch.inf), value[:-1]])
        back.append(torch.cat([at[:1], at[:-1]]))
    if not best[-1] < torch.inf:
        return None
    cuts = [len(key)]
    for at in reversed(back):
        cuts.append(int(at[cuts[-1]]))
    return cuts[:0:-1]


def _between(key: Tensor, cut: int) -> Tensor:
    return (key[cut - 1] + key[cut]) / 2


def _row_loss(owner: str, loss: RowLoss, y: Tensor, target: Tensor) -> Tensor:
    if not callable(loss):
        raise ValueError(f"{owner}: loss must be a function of outputs and targets, got {type(loss).__name__}")
    losses = loss(y.clone(), target.clone())  # of their own, since the loss may write into them
    if not isinstance(losses, Tensor) or losses.shape != y.shape[:1]:
        got = str(tuple(losses.shape)) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"{owner}: loss must return one number a row, shape ({len(y)},), got {got}; average over the other "
            "dimensions"
        )
    if not bool(losses.isfinite().all()):
        raise ValueError(
            f"{owner}: loss must be finite, got {losses[~losses.isfinite()][0].item()}; look at that branch"
        )
    return losses
