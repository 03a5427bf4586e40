"""How the rows of a batch get to their branches and back: one meaning, in eager code and in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.banks.bank import Bank
from hardgrad.switch.routers.router import Router, by_branch, count

Branches = Sequence[nn.Module] | nn.ModuleList


def run(branches: Branches, rows: Tensor, index: Tensor, router: Router, bank: Bank | None = None) -> Tensor:
    """Return each row's output, in the rows' order; branches without a row do not run."""
    counts = count(index, len(branches))
    router.add_visits(counts)
    if in_graph():
        return static(branches, rows, index)
    sizes = counts.tolist()
    visited = [i for i, size in enumerate(sizes) if size]
    if not visited:
        return _no_rows(branches[0], rows)
    if len(visited) == 1:
        return cast(Tensor, branches[visited[0]](rows))
    together = None if bank is None else bank.run(rows, index, sizes, visited)
    return segments(branches, rows, index, sizes, visited) if together is None else together


def segments(branches: Branches, rows: Tensor, index: Tensor, sizes: list[int], visited: list[int]) -> Tensor:
    """Sort the rows by branch, run each visited branch once on its own, and put the outputs back in order."""
    order = by_branch(index, len(branches))
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    parts = _Reorder.apply(rows, order, inverse).split([sizes[i] for i in visited])
    outputs = [branches[i](part) for i, part in zip(visited, parts, strict=True)]
    _one_shape(visited, outputs)
    return cast(Tensor, _Reorder.apply(torch.cat(outputs), inverse, order))


def static(branches: Branches, rows: Tensor, index: Tensor) -> Tensor:
    """Run every branch on its rows, maybe none: the one way without a read-back, for compiled and exported graphs."""
    y: Tensor | None = None
    for i, branch in enumerate(branches):
        mine = (index == i).nonzero()[:, 0]
        output: Tensor = branch(rows[mine])
        y = output.new_zeros(rows.shape[0], *output.shape[1:]) if y is None else y
        y = y.index_put((mine,), output)
    assert y is not None
    return y


def _no_rows(branch: nn.Module, rows: Tensor) -> Tensor:
    # The output's shape comes from one branch, without a gradient: an empty batch must leave every branch alone.
    with torch.no_grad():
        y: Tensor = branch(rows)
    return y.requires_grad_(torch.is_grad_enabled())


def _one_shape(visited: list[int], outputs: list[Tensor]) -> None:
    first = outputs[0].shape[1:]
    for i, output in zip(visited, outputs, strict=True):
        if output.shape[1:] != first:
            raise ValueError(
                f"Switch: branches must return one shape for a row, got {tuple(first)} from branch {visited[0]} and "
                f"{tuple(output.shape[1:])} from branch {i}; end them in layers of one size"
            )


class _Reorder(torch.autograd.Function):
    """Rows in another order; going back needs the inverse order, not a scatter with additions."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return rows.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(grad, inverse, order), None, None
