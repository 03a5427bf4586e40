"""The gradient that the rows near a learnt point lend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.thresholds.learnt import LearntRanges

if TYPE_CHECKING:
    from hardgrad.switch.switch import Switch


def lend(switch: Switch, rows: Tensor, key: Tensor, index: Tensor, y: Tensor) -> Tensor:
    """Return y, bit for bit, with a gradient lent to the points; called by ``Switch`` in training.

    Args:
        switch: a switch on ``LearntRanges``.
        rows: (B, ...), not normalised.
        key: (B,).
        index: (B,), the branch of each row.
        y: (B, *), what the branches made of the rows.
    """
    ranges = cast(LearntRanges, switch.ranges)
    if ranges.band is None or not ranges.reach:
        return y
    row, edge, other, weight = near(ranges, key, index)
    with torch.no_grad():
        jump = served(switch, rows, row, other).to(y.dtype) - y[row]
        pull = jump.to(torch.promote_types(jump.dtype, torch.float32))
        pull = pull * weight.to(pull.dtype).reshape(-1, *[1] * (pull.ndim - 1))
    return cast(Tensor, _Lend.apply(y, ranges.inner, row, edge, pull))


def near(ranges: LearntRanges, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
        rows: (B, ...), not normalised.
        row: (M,), which rows.
        by: (M,), by which branch.
    """
    x = rows.detach()[row]
    if switch.normalise is not None:
        x = switch.normalise(x, by)
    y: Tensor | None = None
    which = range(len(switch.branches)) if in_graph() else by.unique().tolist() or [0]
    with torch.no_grad():
        for i in which:
            mine = (by == i).nonzero()[:, 0]
            with evaluating(switch.branches[i]):
                output: Tensor = switch.branches[i](x[mine])
            y = output.new_zeros(len(x), *output.shape[1:]) if y is None else y
            y = y.index_put((mine,), output.to(y.dtype))
    assert y is not None
    return y


@contextmanager
def evaluating(branch: nn.Module) -> Iterator[None]:
    """Put a branch in evaluation mode for a while, each of its parts back as it was after."""
    # Dropout would draw random numbers that the rows' own branches then miss, and batch statistics would take in rows
    # of another range.
    training = [module for module in branch.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


class _Lend(torch.autograd.Function):
    """The identity in y; each point gets the products of its rows' gradients with their pull."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, inner: Tensor, row: Tensor, edge: Tensor, pull: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2:])
        ctx.points = inputs[1].shape[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        row, edge, pull = ctx.saved_tensors
        each = (grad[row].to(pull.dtype) * pull).flatten(1).sum(1) if pull.ndim > 1 else grad[row].to(pull.dtype) * pull
        to_points = torch.zeros(ctx.points, dtype=torch.float64, device=grad.device)
        return grad, to_points.index_add(0, edge, each.double()), None, None, None
