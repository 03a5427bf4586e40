"""The gradient that the rows near a learned point lend it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from hardgrad._torch_state import hides_values, in_compiled_transform, in_graph
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.outputs import one_dtype, one_shape, one_tensor
from hardgrad.switch.static import evaluating, everywhere

if TYPE_CHECKING:
    from hardgrad.switch.switch import Switch


def lend(switch: Switch, rows: Tensor, key: Tensor, index: Tensor, y: Tensor) -> Tensor:
    """Return y, bit for bit, with a gradient lent to the points; called by ``Switch`` in training.

    Args:
        switch: a switch on ``LearnedRanges``.
        rows: (B, ...), not normalized.
        key: (B,).
        index: (B,), the branch of each row.
        y: (B, *), what the branches made of the rows.
    """
    ranges = cast(LearnedRanges, switch.ranges)
    if ranges.band is None or not ranges.reach:
        return y
    if hides_values(index) or in_compiled_transform():
        return _lend_everywhere(switch, rows, key, index, y)
    row, edge, other, weight = near(ranges, key, index)
    with torch.no_grad():
        jump = served(switch, rows, row, other).to(y.dtype) - y[row]
        pull = jump.to(torch.promote_types(jump.dtype, torch.float32))
        pull = pull * weight.to(pull.dtype).reshape(-1, *[1] * (pull.ndim - 1))
    lent = _Lend if in_graph() else _LendForward
    return cast(Tensor, lent.apply(y, ranges.inner, row, edge, pull))


def _lend_everywhere(switch: Switch, rows: Tensor, key: Tensor, index: Tensor, y: Tensor) -> Tensor:
    """As ``lend``, where no row can be left out, or where torch drops the backward of a Function.

    Both neighbours serve every row; what they would change is multiplied by a zero whose gradient is the point's.
    """
    ranges = cast(LearnedRanges, switch.ranges)
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
            jump = (_all_served(switch, rows, edge + 1 + step).to(y.dtype) - y.detach()).to(path.dtype)
            pull = torch.nan_to_num(jump * weight.reshape(-1, *[1] * (jump.ndim - 1)))
        path = path + pull * zero[edge].to(path.dtype).reshape(-1, *[1] * (jump.ndim - 1))
    return y + path.to(y.dtype)


def _all_served(switch: Switch, rows: Tensor, by: Tensor) -> Tensor:
    x = switch.scaled(rows.detach(), by)
    with ExitStack() as stack:
        for branch in switch.branches:
            stack.enter_context(evaluating(branch))
        return everywhere(switch.branches, x, by)


def near(ranges: LearnedRanges, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the rows within the band of a point at an end of their range, one entry for each row and point.

    Args:
        ranges: the condition; its band is not None.
        key: (B,).
        index: (B,), the range of each row.

    Returns:
        Four tensors (M,): position of the row; of the inner point; the range on the point's other side; the triangle's
        weight, whose sign is that of a move of the point which gives the row away: plus from above, minus from below.
    """
    assert ranges.band is not None
    inner = ranges.tensor(key.device)[1:-1]
    half = ranges.band * torch.tensor(ranges.reach, dtype=torch.float64, device=key.device)
    key = key.detach().double()
    found = []
    for step in (0, -1):  # the point above a row's range, then the one below
        edge = index + step
        inside = (edge >= 0) & (edge < len(inner))
        edge = edge.clamp(0, len(inner) - 1)
        distance = (key - inner[edge]).abs()
        row = (inside & (distance < half[edge])).nonzero()[:, 0]
        edge = edge[row]
        weight = (1 - distance[row] / half[edge]) / half[edge]
        found.append((row, edge, edge + 1 + step, weight if step else -weight))
    row, edge, other, weight = (torch.cat(parts) for parts in zip(*found, strict=True))
    return row, edge, other, weight


def served(switch: Switch, rows: Tensor, row: Tensor, by: Tensor) -> Tensor:
    """Return what given branches make of rows, in evaluation mode and without a gradient: nothing in them moves.

    Args:
        switch: the switch.
        rows: (B, ...), not normalized.
        row: (M,), which rows.
        by: (M,), by which branch.
    """
    x = switch.scaled(rows.detach()[row], by)
    which = range(len(switch.branches)) if in_graph() else by.unique().tolist() or [0]
    places = [(by == i).nonzero()[:, 0] for i in which]
    outputs = []
    with torch.no_grad():
        for i, mine in zip(which, places, strict=True):
            with evaluating(switch.branches[i]):
                outputs.append(one_tensor(i, switch.branches[i](x[mine]), mine.shape[0]))
        one_shape(which, outputs)
        y = outputs[0].new_zeros(x.shape[0], *outputs[0].shape[1:], dtype=one_dtype(outputs))
        for mine, output in zip(places, outputs, strict=True):
            y = y.index_put((mine,), output.to(y.dtype))
    return y


class _Lend(torch.autograd.Function):
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
        each = grad[row].to(pull.dtype) * pull
        each = each.sum(tuple(range(1, pull.ndim))) if pull.ndim > 1 else each
        to_points = torch.zeros(ctx.points, dtype=torch.float64, device=grad.device)
        return grad, to_points.index_add(0, edge, each.double()), None, None, None


class _LendForward(_Lend):
    """With forward mode, which torch.compile does not trace."""

    @staticmethod
    def jvp(ctx: Any, y: Tensor, inner: Tensor | None, *_: None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        row, edge, pull = ctx.saved_tensors
        if inner is None:
            return y.clone()
        each = pull * inner[edge].to(pull.dtype).reshape(-1, *[1] * (pull.ndim - 1))
        return y.index_add(0, row, each.to(y.dtype))
