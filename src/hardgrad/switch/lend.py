"""The gradient that the rows near a learnt point lend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad.switch.learnt import LearntRanges
from hardgrad.switch.router import in_graph


def lend(
    ranges: LearntRanges,
    branches: nn.ModuleList,
    normalise: Callable[[Tensor, Tensor], Tensor] | None,
    rows: Tensor,
    key: Tensor,
    index: Tensor,
    y: Tensor,
) -> Tensor:
    """Return y, bit for bit, with a gradient lent to the points; called by ``Switch`` in training.

    Args:
        ranges: the condition.
        branches: one a range.
        normalise: maps rows to a range's [-1, 1].
        rows: (B, ...), not normalised.
        key: (B,).
        index: (B,), the branch of each row.
        y: (B, *), what the branches made of the rows.
    """
    if ranges.band is None or not ranges.reach:
        return y
    row, edge, other, weight = near(ranges, key, index)
    with torch.no_grad():
        jump = served(branches, normalise, rows, row, other, y) - y[row]
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


def served(
    branches: nn.ModuleList,
    normalise: Callable[[Tensor, Tensor], Tensor] | None,
    rows: Tensor,
    row: Tensor,
    by: Tensor,
    like: Tensor,
) -> Tensor:
    """Return what branches that are not a row's own would make of it, in evaluation mode: nothing in them moves.

    Args:
        branches: one a range.
        normalise: maps rows to a range's [-1, 1].
        rows: (B, ...), not normalised.
        row: (M,), which rows.
        by: (M,), by which branch.
        like: (B, *), of the outputs' shape and dtype.
    """
    x = rows.detach()[row]
    if normalise is not None:
        x = normalise(x, by)
    y = like.new_zeros(len(row), *like.shape[1:])
    with torch.no_grad():
        for i in range(len(branches)) if in_graph() else by.unique().tolist():
            mine = (by == i).nonzero()[:, 0]
            with evaluating(branches[i]):
                y = y.index_put((mine,), branches[i](x[mine]).to(y.dtype))
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
