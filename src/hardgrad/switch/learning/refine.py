"""Learned points placed by loss differences: lent exactly, row by row, or placed at once over many rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.switch.checks import number, row_targets, some_rows
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.learning.gradient import near, served
from hardgrad.switch.switch import Switch

RowLoss = Callable[[Tensor, Tensor], Tensor]


def threshold_loss(switch: Switch, x: Tensor, key: Tensor, target: Tensor, loss: RowLoss) -> Tensor:
    r"""Return a zero whose gradient moves the learned points by the exact difference of two branches' losses.

    .. math::
        \frac{\partial}{\partial p_i} = \frac{1}{B} \sum_b w_h(k_b - p_i)\,
        \bigl(\ell(f_{i-1}(x_b), t_b) - \ell(f_i(x_b), t_b)\bigr)

    What ``LearnedRanges`` lends by itself is this to first order in the jump between the branches. Add it to the loss
    of a switch whose ranges lend nothing (``ranges.band = None`` while the switch runs), else points get both.

    Args:
        switch: a switch on ``LearnedRanges`` with a band.
        x: as for the switch.
        key: as for the switch.
        target: of each row, x's leading dimensions first.
        loss: (outputs (M, *), targets (M, *)) to the loss of each row, (M,).

    Returns:
        A scalar 0. Only the points get a gradient, that of the mean loss over the rows.

    Raises:
        ValueError: for other ranges, no band, a target of other rows, or a loss that is not one finite number a row.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.LearnedRanges([0.0, 1.5, 2.0]), torch.nn.Linear(1, 1))
        >>> x = torch.tensor([[1.4], [1.6]])
        >>> zero = hg.switch.threshold_loss(switch, x, x[:, 0], x, lambda y, t: (y - t).square().sum(1))
        >>> zero.backward()
        >>> zero.item(), switch.ranges.inner.grad.shape, switch.branch(0).weight.grad
        (0.0, torch.Size([1]), None)
    """
    ranges = _learned(switch, "threshold_loss")
    if ranges.band is None:
        raise ValueError("threshold_loss: switch's ranges must have a band, got None; set ranges.band, 0.5 say")
    rows, key, index, shape = switch.routed(x, key)
    wanted = row_targets("threshold_loss", target, shape)
    with torch.no_grad():
        row, edge, other, weight = near(ranges, key, index)
        wanted = wanted[row]
        theirs = _row_loss("threshold_loss", loss, served(switch, rows, row, other), wanted)
        own = _row_loss("threshold_loss", loss, served(switch, rows, row, index[row]), wanted)
        slope = torch.zeros_like(ranges.inner)
        slope = slope.index_add(0, edge, weight * (theirs - own).double() / max(len(rows), 1))
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
def refine(switch: Switch, x: Tensor, key: Tensor, target: Tensor, loss: RowLoss, *, window: float = 0.5) -> Refined:
    r"""Place all inner points at once where the branches, as they are, serve the rows best.

    .. math:: \min_{p_1 < \dots < p_{N-1}} \sum_b \ell\bigl(f_{r_p(k_b)}(x_b), t_b\bigr), \qquad
        |p_i - p_i^{\text{before}}| \le w \cdot (\text{narrower range beside it at the start})

    The minimum is exact, by dynamic programming over the sorted rows: a point lies half-way between two keys. Called
    every so often in training, it is the hard step of an expectation-maximization whose other step trains the branches;
    every branch serves every row once, so give it some ten thousand rows, not each batch. The window keeps a point from
    running over to the next break, which the branches may serve as well.

    Args:
        switch: a switch on ``LearnedRanges``. Its points are set, nothing else moves, no visit is counted.
        x: as for the switch.
        key: as for the switch.
        target: of each row, x's leading dimensions first.
        loss: (outputs (M, *), targets (M, *)) to the loss of each row, (M,).
        window: how far a point may move at once; above 0. Infinite for no bound.

    Returns:
        The points and mean losses before and after.

    Raises:
        ValueError: for other ranges, no rows, a target of other rows, a window that is not above 0, or a loss that is
            not one finite number a row.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.LearnedRanges([0.0, 1.2, 2.0]), torch.nn.Linear(1, 1))
        >>> for branch, level in zip(switch.branches, (-1.0, 1.0)):
        ...     _ = torch.nn.init.zeros_(branch.weight), torch.nn.init.constant_(branch.bias, level)
        >>> x = torch.linspace(0, 2, 21).unsqueeze(1)
        >>> done = hg.switch.refine(switch, x, x[:, 0], (x - 0.95).sign(), lambda y, t: (y - t).square().sum(1))
        >>> round(done.after[1], 2), done.loss_after
        (0.95, 0.0)

    Note:
        A recipe that brought points back from 30 % off: ``band=None``; AdamW with a weight decay of 1.5 that falls to
        zero by half of the steps, so that branches are too stiff at first to follow a break inside their range; rows
        drawn evenly over the key; no call in the first 300 steps, while the branches know nothing; then one every 50
        steps until 85 % of them, on 100 000 rows; a last one on all rows. A point that starts nearer to another's
        break than to its own may take that one: ``relocate`` moves it to the one that is missing.

    Source: the segmentation of Bellman 1961 (On the approximation of curves by line segments), with trained networks in
    the place of lines.
    """
    ranges = _learned(switch, "refine")
    if not number("refine", "window", window, "0.5 is half the narrower range beside a point") > 0:
        raise ValueError(f"refine: window must be above 0, got {window}; 0.5 is half the narrower range beside a point")
    before = ranges.points
    rows, key, index, shape = switch.routed(x, key)
    some_rows("refine", rows)
    wanted = row_targets("refine", target, shape)
    order = key.double().argsort()
    rows, key, index, wanted = rows[order], key.double()[order], index[order], wanted[order]
    everyone = torch.arange(len(rows), device=rows.device)
    costs = [
        _row_loss("refine", loss, served(switch, rows, everyone, torch.full_like(everyone, i)), wanted).double()
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
    each = loss(y.clone(), target.clone())  # of their own, since the loss may write into them
    if not isinstance(each, Tensor) or each.shape != y.shape[:1]:
        got = str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__
        raise ValueError(
            f"{owner}: loss must return one number a row, shape ({len(y)},), got {got}; average over the other "
            "dimensions"
        )
    if not bool(each.isfinite().all()):
        raise ValueError(f"{owner}: loss must be finite, got {each[~each.isfinite()][0].item()}; look at that branch")
    return each


def _learned(switch: Switch, owner: str) -> LearnedRanges:
    ranges = getattr(switch, "ranges", None)
    if not isinstance(switch, Switch) or not isinstance(ranges, LearnedRanges):
        got = type(ranges).__name__ if isinstance(switch, Switch) else type(switch).__name__
        raise ValueError(f"{owner}: switch must have LearnedRanges, got {got}; build it on hardgrad.LearnedRanges")
    return ranges
