"""Losses and gradients range by range, so that none drowns the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph

if TYPE_CHECKING:
    from hardgrad.switch.switch import Switch


def per_branch_mean(loss: Tensor, index: Tensor, branches: int | None = None, weights: Tensor | None = None) -> Tensor:
    r"""Return the mean over branches of each one's mean loss, so that a range of few rows counts as much as any.

    .. math:: \frac{\sum_i w_i \bar\ell_i}{\sum_i w_i}, \qquad \bar\ell_i = \frac{1}{n_i} \sum_{b : r_b = i} \ell_b,
        \qquad \text{over the branches with } n_i > 0

    It matters to what branches share (layers before or after the switch, learnt points, a clipped norm) and to plain
    SGD. Branches alone under Adam do not see it: Adam divides a gradient by its own size.

    Args:
        loss: of each row, (B, ...), or (B, T, ...) with an index per time step; what follows index's dimensions is
            averaged.
        index: branch of each row, int64 (B,) or (B, T): ``switch.ranges.index(key)``.
        branches: how many there are. None: as many as occur; a compiled or exported graph must be given it.
        weights: (branches,) how much each counts, at least 0. None: all alike.

    Returns:
        A scalar; 0 where there are no rows.

    Raises:
        ValueError: if loss does not begin with index's shape, weights has another length than branches, or branches is
            None in a graph.

    Example:
        >>> import torch, hardgrad as hg
        >>> loss = torch.tensor([1.0, 1.0, 1.0, 9.0])
        >>> hg.per_branch_mean(loss, torch.tensor([0, 0, 0, 1])).item()
        5.0
    """
    if loss.shape[: index.ndim] != index.shape or not index.ndim:
        raise ValueError(
            f"per_branch_mean: loss must begin with index's shape {tuple(index.shape)}, got {tuple(loss.shape)}; give "
            'one loss a row, with reduction="none"'
        )
    if branches is None:
        branches = _occurring(index) if weights is None else len(weights)
    if weights is not None and weights.shape != (branches,):
        raise ValueError(
            f"per_branch_mean: weights must have shape ({branches},), one a branch, got {tuple(weights.shape)}"
        )
    rows = loss.reshape(index.numel(), -1) if index.numel() else loss.reshape(0, 1)
    each = rows.to(torch.promote_types(loss.dtype, torch.float32)).mean(1)
    index = index.reshape(-1)
    sums = each.new_zeros(branches).index_add(0, index, each)
    counts = each.new_zeros(branches).index_add(0, index, torch.ones_like(each))
    share = (counts > 0).to(each.dtype)
    if weights is not None:
        share = share * weights.to(share)
    total = share.sum()
    return (sums / counts.clamp(min=1) * share).sum() / torch.where(total > 0, total, 1)


def _occurring(index: Tensor) -> int:
    if in_graph():
        raise ValueError("per_branch_mean: branches must be given in a graph, got None; give len(switch.branches)")
    return int(index.max()) + 1 if index.numel() else 1


@torch.no_grad()
def clip_grad_norm_per_branch_(switch: Switch, max_norm: float, norm_type: float = 2.0) -> Tensor:
    r"""Scale down, in place, the gradient of each branch whose norm is too large; return the norms.

    .. math:: g_i \leftarrow g_i \min\Bigl(1,\, \frac{c}{\lVert g_i \rVert}\Bigr)

    One norm over the whole switch would let a branch that explodes shrink the steps of all others.

    Args:
        switch: the switch, after ``backward()``.
        max_norm: c, above 0.
        norm_type: p of the p-norm; may be infinite.

    Returns:
        float64 (branches,), the norms before; NaN for a branch without a gradient.

    Raises:
        ValueError: if max_norm is not above 0.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
        >>> switch(torch.full((4, 1), 30.0), key=torch.full((4,), 0.5)).sum().backward()
        >>> [round(norm) for norm in hg.clip_grad_norm_per_branch_(switch, 1.0).nan_to_num(-1).tolist()]
        [120, -1]
        >>> round(switch.branch(0).weight.grad.item(), 2)
        1.0
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_per_branch_: max_norm must be above 0, got {max_norm}")
    norms = []
    for branch in switch.branches:
        moving = [parameter for parameter in branch.parameters() if parameter.grad is not None]
        norm = nn.utils.clip_grad_norm_(moving, max_norm, norm_type) if moving else torch.tensor(torch.nan)
        norms.append(norm.double())
    device = next((norm.device for norm in norms if not norm.isnan()), torch.device("cpu"))
    return torch.stack([norm.to(device) for norm in norms])
