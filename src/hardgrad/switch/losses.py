"""Losses and gradients range by range, so that none drowns the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import hides_values, in_graph
from hardgrad.switch.arguments import index_of, one_loss_a_row, real, whole

if TYPE_CHECKING:
    from hardgrad.switch.switch import Switch


def per_branch_mean(loss: Tensor, index: Tensor, branches: int | None = None, weights: Tensor | None = None) -> Tensor:
    r"""Return the mean over branches of each one's mean loss, so that a range of few rows counts as much as any.

    .. math:: \frac{\sum_i w_i \bar\ell_i}{\sum_i w_i}, \qquad \bar\ell_i = \frac{1}{n_i} \sum_{b : r_b = i} \ell_b,
        \qquad \text{over the branches with } n_i > 0

    It matters to what branches share (layers before or after the switch, learned points, a clipped norm) and to plain
    SGD. Branches alone under Adam do not see it: Adam divides a gradient by its own size.

    Args:
        loss: of each row, (B, ...), or (B, T, ...) with an index per time step; what follows index's dimensions is
            averaged.
        index: branch of each row, int64 (B,) or (B, T): ``switch.ranges.index(key)``.
        branches: how many there are. None: as many as occur; a compiled or exported graph must be given it.
        weights: (branches,) how much each counts, at least 0. None: all alike.

    Returns:
        A scalar, in float32 at least; 0 where there are no rows, or none of a branch with weight. Sums are taken in
        float64. A row whose loss is NaN makes the mean NaN.

    Raises:
        ValueError: if loss does not begin with index's shape or is not of real numbers; index is not of whole numbers
            from 0 to branches - 1 (looked at on the CPU alone); weights are of another length than branches, negative
            or not finite; branches is None in a graph or under vmap.

    Example:
        >>> import torch, hardgrad as hg
        >>> loss = torch.tensor([1.0, 1.0, 1.0, 9.0])
        >>> hg.per_branch_mean(loss, torch.tensor([0, 0, 0, 1])).item()
        5.0
    """
    branches = None if branches is None else whole("per_branch_mean", "branches", branches, 1)
    if weights is not None:
        weights = _checked_weights(weights, branches)
        branches = len(weights)
    index = index_of("per_branch_mean", index, branches)
    loss = one_loss_a_row("per_branch_mean", "loss", loss, index)
    branches = _occurring(index) if branches is None else branches
    if index.numel() and not loss.numel():
        raise ValueError(f"per_branch_mean: loss must have a number for each row, got shape {tuple(loss.shape)}")
    row_loss = loss.to(torch.promote_types(loss.dtype, torch.float32))
    if row_loss.ndim > index.ndim:
        row_loss = row_loss.reshape(index.numel(), -1).mean(1) if index.numel() else row_loss.reshape(0)
    # In float64: a sum of many rows one by one in float32 stops growing at 2 ** 24 of them. Apple's devices lack it.
    row_loss = row_loss.reshape(-1).to(row_loss.dtype if row_loss.device.type == "mps" else torch.float64)
    index = index.reshape(-1)
    sums = row_loss.new_zeros(branches).index_add(0, index, row_loss)
    counts = row_loss.new_zeros(branches).index_add(0, index, torch.ones_like(row_loss))
    share = (counts > 0).to(row_loss.dtype)
    if weights is not None:
        share = share * weights.to(share)
    total = share.sum()
    mean = (sums / counts.clamp(min=1) * share).sum() / torch.where(total > 0, total, 1)
    return mean.to(torch.promote_types(loss.dtype, torch.float32))


def _checked_weights(weights: Tensor, branches: int | None) -> Tensor:
    weights = _check.tensor("per_branch_mean", "weights", weights)
    if weights.ndim != 1 or not len(weights) or len(weights) != (len(weights) if branches is None else branches):
        raise ValueError(
            f"per_branch_mean: weights must have shape ({'branches' if branches is None else branches},), one a "
            f"branch, got {tuple(weights.shape)}"
        )
    if in_graph() or hides_values(weights):
        return weights
    if weights.is_complex() or not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError(f"per_branch_mean: weights must be finite and at least 0, got {weights.tolist()}")
    return weights


def _occurring(index: Tensor) -> int:
    if in_graph():
        raise ValueError("per_branch_mean: branches must be given in a graph, got None; give len(switch.branches)")
    if hides_values(index):
        raise ValueError(
            "per_branch_mean: branches must be given under torch.func.vmap, which hides the index, got None; give "
            "len(switch.branches)"
        )
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
        float64 (branches,), the norms before, computed in float64 whatever the gradients are; NaN for a branch without
        a gradient. A branch whose gradient is not finite has a norm of infinity or NaN, and gets NaN as torch's
        ``clip_grad_norm_`` gives it: look at the norms before a step.

    Raises:
        TypeError: if the switch has no branches.
        ValueError: if max_norm or norm_type is not above 0.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
        >>> switch(torch.full((4, 1), 30.0), key=torch.full((4,), 0.5)).sum().backward()
        >>> [round(norm) for norm in hg.clip_grad_norm_per_branch_(switch, 1.0).nan_to_num(-1).tolist()]
        [120, -1]
        >>> round(switch.branch(0).weight.grad.item(), 2)
        1.0
    """
    if not isinstance(getattr(switch, "branches", None), nn.ModuleList):
        raise TypeError(
            f"clip_grad_norm_per_branch_: switch must be a Switch or a RecurrentSwitch, got {type(switch).__name__}; "
            "take it out of its wrapper (model.module)"
        )
    owner = "clip_grad_norm_per_branch_"
    for name, value in {"max_norm": max_norm, "norm_type": norm_type}.items():
        if not real(owner, name, value) > 0:
            raise ValueError(f"{owner}: {name} must be above 0, got {value}")
    norms = []
    for branch in switch.branches:
        grads = [parameter.grad for parameter in branch.parameters() if parameter.grad is not None]
        norm = _norm(grads, float(norm_type)) if grads else torch.tensor(torch.nan, dtype=torch.float64)
        coefficient = (float(max_norm) / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(coefficient.to(grad.device, _at_least_single(grad)))
        norms.append(norm)
    device = next((norm.device for norm in norms if not norm.is_cpu), torch.device("cpu"))
    return torch.stack([norm.to(device) for norm in norms])


def _norm(grads: list[Tensor], norm_type: float) -> Tensor:
    """The p-norm of all gradients together, float64: in half precision it would overflow at 65504."""
    values = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    values = [value.abs() if value.is_complex() else value for value in values]
    norms: list[Tensor] = [
        torch.linalg.vector_norm(value, norm_type, dtype=torch.float64) for value in values if value.numel()
    ]
    if not norms:
        return torch.zeros((), dtype=torch.float64)
    norm: Tensor = torch.linalg.vector_norm(torch.stack([value.to(norms[0].device) for value in norms]), norm_type)
    may_overflow = norm_type > 4 or any(value.dtype is torch.float64 for value in values)
    if may_overflow and norm.isinf() and all(bool(value.isfinite().all()) for value in values):
        peak = torch.stack([value.abs().max().double().to(norm.device) for value in values if value.numel()]).max()
        scaled = _norm([value / peak.to(value) for value in values], norm_type)
        return peak * scaled
    return norm


def _at_least_single(grad: Tensor) -> torch.dtype:
    return torch.promote_types(grad.dtype, torch.float32)
