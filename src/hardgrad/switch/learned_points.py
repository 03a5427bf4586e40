"""What is done to a layer whose points learn: points placed, a range moved, the hard choice compared with the soft."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.switch.arguments import real, row_targets, some_rows
from hardgrad.switch.branch_layer import BranchLayer
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.learning.agreement import Agreement, measure_agreement
from hardgrad.switch.learning.refine import Refined, RowLoss, loss_of_points, place_points
from hardgrad.switch.learning.relocate import Relocated, check_alike, move_range


def threshold_loss(switch: BranchLayer, x: Tensor, key: Tensor, target: Tensor, loss: RowLoss) -> Tensor:
    r"""Return a zero whose gradient moves the learned points by the exact difference of two branches' losses.

    .. math::
        \frac{\partial}{\partial p_i} = \frac{1}{B} \sum_b w_h(k_b - p_i)\,
        \bigl(\ell(f_{i-1}(x_b), t_b) - \ell(f_i(x_b), t_b)\bigr)

    The surrogate gradient of ``LearnedRanges`` is this to first order in the jump between the branches. Add it to the
    loss of a switch without that one (``ranges.band = None`` while the switch runs), else points get both.

    Args:
        switch: a switch on ``LearnedRanges`` with a band.
        x: as for the switch.
        key: as for the switch.
        target: of each row, x's leading dimensions first.
        loss: ``(outputs (M, *), targets (M, *))`` to the loss of each row, ``(M,)``.

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
    batch = switch.routed(x, key)
    target = row_targets("threshold_loss", target, batch.shape)
    return loss_of_points(switch.bundle(), ranges, batch, target, loss)


def refine(
    switch: BranchLayer, x: Tensor, key: Tensor, target: Tensor, loss: RowLoss, *, window: float = 0.5
) -> Refined:
    r"""Place all inner points at once where the branches, as they are, have the least loss.

    .. math:: \min_{p_1 < \dots < p_{N-1}} \sum_b \ell\bigl(f_{r_p(k_b)}(x_b), t_b\bigr), \qquad
        |p_i - p_i^{\text{before}}| \le w \cdot (\text{narrower range beside it at the start})

    The minimum is exact, by dynamic programming over the sorted rows: a point lies half-way between two keys. Called
    every so often in training, it is the hard step of an expectation-maximization whose other step trains the branches;
    every branch runs every row once, so give it some ten thousand rows, not each batch. The window keeps a point from
    running over to the next break, where the branches may fit as well.

    Args:
        switch: a switch on ``LearnedRanges``. Its points are set, nothing else moves, no visit is counted.
        x: as for the switch.
        key: as for the switch.
        target: of each row, x's leading dimensions first.
        loss: ``(outputs (M, *), targets (M, *))`` to the loss of each row, ``(M,)``.
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
    if not real("refine", "window", window, "0.5 is half the narrower range beside a point") > 0:
        raise ValueError(f"refine: window must be above 0, got {window}; 0.5 is half the narrower range beside a point")
    batch = switch.routed(x, key)
    some_rows("refine", batch.rows)
    return place_points(switch.bundle(), ranges, batch, row_targets("refine", target, batch.shape), loss, window)


def relocate(
    switch: BranchLayer,
    x: Tensor,
    key: Tensor,
    target: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    worth: float = 2.0,
) -> Relocated | None:
    r"""Move the range that is needed least to where a break is missed most, if that is worth it.

    .. math:: \text{cost}_i = \min_c \sum_{k_b < c} e_{i-1}(b) + \sum_{k_b \ge c} e_{i+1}(b) - \sum_b e_i(b), \qquad
        \text{gain}_j = S_j^{(1)} - \min_c S_j^{(2)}(c)

    over the rows of range i and j; e is the squared error by a branch, and S the squared error that is left of branch
    j's when a line in the key is fitted to it, in one piece or in two that part at c. Points that ``refine`` placed may
    share one break while another has none, and no point runs over others to reach it. The move costs no parameters: the
    branches between i and j hand their weights, their optimizer state and their scale on by one place, and range j's
    two halves go on from the same. Train for some hundred steps before the next call, so that they part. Visits are not
    moved.

    Args:
        switch: a switch on ``LearnedRanges`` with branches of one architecture, for regression: its outputs and the
            targets are compared by their squared difference.
        x: as for the switch.
        key: as for the switch.
        target: of each row, x's leading dimensions first.
        optimizer: that trains the switch; its state moves along. None: it has none worth keeping.
        worth: how many times its cost a move must gain, at least 1.

    Returns:
        What was done, or None where nothing was worth it.

    Raises:
        ValueError: for other ranges, branches of different architectures, no rows, targets of another shape than the
            outputs, or ``worth`` below 1.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.LearnedRanges([0.0, 0.9, 1.0, 3.0]), torch.nn.Linear(1, 1))
        >>> for branch, level in zip(switch.branches, (0.0, 1.0, 1.5)):
        ...     _ = torch.nn.init.zeros_(branch.weight), torch.nn.init.constant_(branch.bias, level)
        >>> x = torch.linspace(0, 3, 301).unsqueeze(1)
        >>> done = hg.switch.relocate(switch, x, x[:, 0], (x >= 1).float() + (x >= 2).float())
        >>> done.given_up, done.split, round(done.at, 2), [round(point, 2) for point in switch.ranges.points]
        (1, 2, 2.0, [0.0, 1.0, 2.0, 3.0])

    Source: the split and merge moves of Ueda, Nakano, Ghahramani and Hinton 2000 (SMEM algorithm for mixture models),
    for ranges in order.
    """
    ranges = _learned(switch, "relocate")
    if not real("relocate", "worth", worth, "2 asks for twice what a move costs") >= 1:
        raise ValueError(f"relocate: worth must be at least 1, got {worth}; 2 asks for twice what a move costs")
    if optimizer is not None:
        _check.instance("relocate", "optimizer", optimizer, torch.optim.Optimizer, "give the switch's own")
    branches = switch.bundle()
    check_alike(branches)
    batch = switch.routed(x, key)
    some_rows("relocate", batch.rows)
    return move_range(branches, ranges, batch, row_targets("relocate", target, batch.shape), optimizer, worth)


def agreement(switch: BranchLayer, x: Tensor, key: Tensor | None = None) -> Agreement:
    r"""Compare the hard choice with the soft one whose slope learned points follow.

    The soft choice mixes the two branches beside a point by the area of the triangle of ``LearnedRanges``, which slopes
    from one to the other within the band:

    .. math:: s_i(k) = \int_{-\infty}^{k} w_h(u - p_i)\, \mathrm{d}u

    Args:
        switch: a switch on ``LearnedRanges`` with a band; it runs in evaluation mode, and no visit is counted.
        x: as for the switch.
        key: as for the switch.

    Returns:
        An ``Agreement``; print it.

    Raises:
        ValueError: for other ranges, no band or no rows.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.LearnedRanges([0.0, 1.0, 2.0], band=0.2), torch.nn.Linear(1, 1))
        >>> x = torch.tensor([[0.5], [1.0], [1.1], [1.5]])
        >>> report = hg.switch.agreement(switch, x, key=x[:, 0])
        >>> round(report.choice, 3), report.in_band, report.rows
        (0.844, 0.5, (2,))
    """
    ranges = _learned(switch, "agreement")
    if ranges.band is None:
        raise ValueError("agreement: switch's ranges must have a band, got None; set ranges.band, 0.5 say")
    batch = switch.routed(x, key)
    some_rows("agreement", batch.rows)
    return measure_agreement(switch.bundle(), ranges, batch)


def _learned(switch: BranchLayer, owner: str) -> LearnedRanges:
    ranges = getattr(switch, "ranges", None)
    if not isinstance(switch, BranchLayer) or not isinstance(ranges, LearnedRanges):
        got = type(ranges if isinstance(switch, BranchLayer) else switch).__name__
        raise ValueError(f"{owner}: switch must have LearnedRanges, got {got}; build it on hardgrad.LearnedRanges")
    return ranges
