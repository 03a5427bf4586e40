"""How the rows of a batch get to their branches and back: one meaning, in eager code and in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import exporting, hides_values, in_compiled_transform, in_transform
from hardgrad.switch.apart import of_no_rows
from hardgrad.switch.banks.bank import Bank
from hardgrad.switch.conditions.condition import Router, by_branch, count, without_values
from hardgrad.switch.marks import Marks
from hardgrad.switch.outputs import one_shape, one_tensor
from hardgrad.switch.static import evaluating, everywhere, refuse_batch_statistics, static

Branches = Sequence[nn.Module] | nn.ModuleList

# Layers that never write into their input nor hand it back, so that it needs no copy.
FRESH = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm, nn.Embedding)


def run(
    branches: Branches,
    rows: Tensor,
    index: Tensor,
    router: Router,
    bank: Bank | None = None,
    *,
    key: Tensor | None = None,
    marks: Marks | None = None,
    owned: bool = False,
) -> Tensor:
    """Return each row's output, in the rows' order; branches without a row do not run.

    Args:
        branches: one a range.
        rows: (B, ...); not written to, whatever a branch does with what it gets.
        index: int64 (B,), the branch of each row; -1 for none.
        router: whose visits are counted.
        bank: the branches stacked, if they are.
        key: of each row, for what else the router counts.
        marks: where a backward through a graph writes which branches had rows.
        owned: whether nobody else holds the memory of rows.
    """
    if without_values(index):
        return _unread(branches, rows, index, router, key, marks)
    counts = torch.bincount(index, minlength=len(branches))
    router.add_visits(counts, key)
    sizes = counts.tolist()
    visited = [i for i, size in enumerate(sizes) if size]
    if not visited:
        return _no_rows(branches[0], rows)
    if len(visited) == 1:
        return _alone(visited[0], branches[visited[0]], rows, owned)
    together = None if bank is None else bank.run(rows, index, sizes, visited)
    return segments(branches, rows, index, sizes, visited) if together is None else together


def _unread(
    branches: Branches, rows: Tensor, index: Tensor, router: Router, key: Tensor | None, marks: Marks | None
) -> Tensor:
    # Where torch.compile traces a torch.func transform, it cannot break the graph at a size that follows from values.
    if hides_values(index) or in_compiled_transform():
        return everywhere(branches, rows, index)
    counts = count(index, len(branches))
    router.add_visits(counts, key)
    if exporting():
        refuse_batch_statistics(branches)
    return static(branches, rows, index, counts, marks if marks is not None and marks.wanted() else None)


def segments(branches: Branches, rows: Tensor, index: Tensor, sizes: list[int], visited: list[int]) -> Tensor:
    """Sort the rows by branch, run each visited branch once on its own, and put the outputs back in order."""
    order = by_branch(index, len(branches))
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    # Parts that autograd does not take for views of one memory, which a branch may then write to.
    joined, cuts = _reordered(rows, order, inverse), [sizes[i] for i in visited]
    if in_transform():  # vmap over the rows does not know that split
        parts = tuple(part.clone() for part in joined.split(cuts))
    else:
        parts = joined.unsafe_split_with_sizes(cuts)
    outputs = [one_tensor(i, branches[i](part), len(part)) for i, part in zip(visited, parts, strict=True)]
    one_shape(visited, outputs)
    return _reordered(torch.cat(outputs), inverse, order)


def _alone(i: int, branch: nn.Module, rows: Tensor, owned: bool) -> Tensor:
    """Run the one branch that all rows go to; on a copy, since it may write into them or hand them on."""
    n = len(rows)
    return one_tensor(i, branch(rows if owned or begins_fresh(branch) else rows.clone()), n)


def begins_fresh(branch: nn.Module) -> bool:
    """Whether a branch is known neither to write into its input nor to hand it back."""
    while not (branch._forward_pre_hooks or branch._forward_hooks or "forward" in branch.__dict__):
        if type(branch) is not nn.Sequential:
            return type(branch) in FRESH
        first = next(iter(branch._modules.values()), None)
        if first is None:
            return False
        branch = first
    return False


def _no_rows(branch: nn.Module, rows: Tensor) -> Tensor:
    # The output's shape comes from one branch, in evaluation mode and without a gradient: an empty batch must leave
    # every branch alone, its statistics and random numbers too.
    with torch.no_grad(), evaluating(branch):
        y = one_tensor(0, branch(rows.clone()), 0)
    return of_no_rows(y)


def _reordered(rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    return cast(Tensor, _Reorder.apply(rows, order, inverse))


class _Reorder(torch.autograd.Function):
    """Rows in another order; going back needs the inverse order, not a scatter with additions."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return rows.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])
        ctx.save_for_forward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(grad, inverse, order), None, None

    # torch.compile does not trace a Function that has this, and never meets one: a graph takes another way.
    @staticmethod
    def jvp(ctx: Any, rows: Tensor, *_: None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        order, inverse = ctx.saved_tensors
        return cast(Tensor, _Reorder.apply(rows, order, inverse))
