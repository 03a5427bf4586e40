"""The surrogate gradient of learned points: what the rows near a point say of moving it."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from hardgrad._torch_state import hides_values, in_compiled_transform, in_graph
from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.branches.outputs import as_column
from hardgrad.switch.conditions.learned import LearnedRanges


def with_surrogate_gradient(
    branches: Branches, ranges: LearnedRanges, rows: Tensor, key: Tensor, index: Tensor, y: Tensor
) -> Tensor:
    """Return y, bit for bit, with a surrogate gradient for the points; for a layer in training.

    Args:
        branches: one a range.
        ranges: the condition.
        rows: (B, ...), not scaled.
        key: (B,).
        index: (B,), the branch of each row.
        y: (B, *), what the branches made of the rows.
    """
    if ranges.band is None or not ranges.reach:
        return y
    if hides_values(index) or in_compiled_transform():
        return _of_every_row(branches, ranges, rows, key, index, y)
    row, edge, other, weight = rows_in_bands(ranges, key, index)
    with torch.no_grad():
        jump = branches.predict(rows[row], other).to(y.dtype) - y[row]
        pull = jump.to(torch.promote_types(jump.dtype, torch.float32))
        pull = pull * as_column(weight.to(pull.dtype), pull)
    surrogate = _Surrogate if in_graph() else _SurrogateForward
    return cast(Tensor, surrogate.apply(y, ranges.inner, row, edge, pull))


def _of_every_row(
    branches: Branches, ranges: LearnedRanges, rows: Tensor, key: Tensor, index: Tensor, y: Tensor
) -> Tensor:
    """As ``with_surrogate_gradient``, where no row can be left out, or where torch drops the backward of a Function.

    Both neighbours are asked about every row; what they would change is multiplied by a zero whose gradient is the
    point's.
    """
    assert ranges.band is not None
    zero = ranges.inner - ranges.inner.detach()
    path = torch.zeros_like(y, dtype=torch.promote_types(y.dtype, torch.float32))
    with torch.no_grad():
        inner = ranges.tensor(key.device)[1:-1]
        half = ranges.band * torch.tensor(ranges.reach, dtype=torch.float64, device=key.device)
        key = key.detach().double()
    for step in (0, -1):  # the point above a row's range, then the one below
        with torch.no_grad():
            edge, inside = index + step, (index + step >= 0) & (index + step < len(inner))
            edge = torch.where(inside, edge, 0)
            weight = (1 - (key - inner[edge]).abs() / half[edge]).clamp(min=0) / half[edge]
            weight = torch.where(inside, weight if step else -weight, 0).to(path.dtype)
            jump = (branches.predict(rows, edge + 1 + step).to(y.dtype) - y.detach()).to(path.dtype)
            pull = torch.nan_to_num(jump * as_column(weight, jump))
        path = path + pull * as_column(zero[edge].to(path.dtype), jump)
    return y + path.to(y.dtype)


class InBand(NamedTuple):
    """Rows within the band of a point at an end of their range: M pairs of a row and a point.

    Attributes:
        row: position of the row.
        edge: number of the inner point.
        other: the range on the point's other side.
        weight: the triangle's, whose sign is that of a move of the point which gives the row away: plus from above,
            minus from below.
    """

    row: Tensor
    edge: Tensor
    other: Tensor
    weight: Tensor


def rows_in_bands(ranges: LearnedRanges, key: Tensor, index: Tensor) -> InBand:
    """Return the rows near points.

    Args:
        ranges: the condition; its band is not None.
        key: (B,).
        index: (B,), the range of each row.
    """
    assert ranges.band is not None
    inner = ranges.tensor(key.device)[1:-1]
    half = ranges.band * torch.tensor(ranges.reach, dtype=torch.float64, device=key.device)
    key = key.detach().double()
    parts = []
    for step in (0, -1):  # the point above a row's range, then the one below
        edge = index + step
        inside = (edge >= 0) & (edge < len(inner))
        edge = edge.clamp(0, len(inner) - 1)
        distance = (key - inner[edge]).abs()
        row = (inside & (distance < half[edge])).nonzero()[:, 0]
        edge = edge[row]
        weight = (1 - distance[row] / half[edge]) / half[edge]
        parts.append((row, edge, edge + 1 + step, weight if step else -weight))
    row, edge, other, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    return InBand(row, edge, other, weight)


class _Surrogate(torch.autograd.Function):
    """The identity in y; each point gets the products of its rows' gradients with their pull."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, inner: Tensor, row: Tensor, edge: Tensor, pull: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2:])
        ctx.save_for_forward(*inputs[2:])
        ctx.points = inputs[1].shape[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        row, edge, pull = ctx.saved_tensors
        share = grad[row].to(pull.dtype) * pull
        share = share.sum(tuple(range(1, pull.ndim))) if pull.ndim > 1 else share
        to_points = torch.zeros(ctx.points, dtype=torch.float64, device=grad.device)
        return grad, to_points.index_add(0, edge, share.double()), None, None, None


class _SurrogateForward(_Surrogate):
    """With forward mode, which torch.compile does not trace."""

    @staticmethod
    def jvp(ctx: Any, y: Tensor, inner: Tensor | None, *_: None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        row, edge, pull = ctx.saved_tensors
        if inner is None:
            return y.clone()
        change = pull * as_column(inner[edge].to(pull.dtype), pull)
        return y.index_add(0, row, change.to(y.dtype))
