"""How the rows of a batch get to their branches and back in eager code, where it is known which branches have rows."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_transform
from hardgrad.switch.branches.batch import Batch, Way
from hardgrad.switch.branches.outputs import of_no_rows, one_shape, one_tensor
from hardgrad.switch.branches.state import evaluating
from hardgrad.switch.conditions.condition import by_branch

# Layers that never write into their input nor hand it back, so that it needs no copy.
LEAVE_INPUT_ALONE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm, nn.Embedding)


def no_branch(batch: Batch) -> Tensor | None:
    """Return what comes of no rows.

    Its shape is one branch's, in evaluation mode and without a gradient: an empty batch must leave every branch alone,
    its statistics and random numbers too.
    """
    if any(batch.sizes):
        return None
    branch = batch.modules[0]
    with torch.no_grad(), evaluating(branch):
        y = one_tensor(0, branch(batch.rows.clone()), 0)
    return of_no_rows(y)


def one_branch(batch: Batch) -> Tensor | None:
    """Run the one branch that all rows go to; on a copy, since it may write into them or hand them on."""
    n = len(batch.rows)
    i = batch.sizes.index(max(batch.sizes))
    if batch.sizes[i] < n:
        return None
    branch = batch.modules[i]
    return one_tensor(i, branch(batch.rows if batch.owned or leaves_input_alone(branch) else batch.rows.clone()), n)


def in_bank(batch: Batch) -> Tensor | None:
    """Run the branches together, where they are equal stacks and nothing is asked of them that a bank does not do."""
    if batch.bank is None:
        return None
    return batch.bank.run(batch.modules, batch.rows, batch.branch, batch.sizes, batch.visited)


def in_turn(batch: Batch) -> Tensor:
    """Sort the rows by branch, run each visited branch once on its own, and put the outputs back in order."""
    visited = batch.visited
    order = by_branch(batch.branch, len(batch.modules))
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    # Parts that autograd does not take for views of one memory, which a branch may then write to.
    joined, cuts = _reordered(batch.rows, order, inverse), [batch.sizes[i] for i in visited]
    if in_transform():  # vmap over the rows does not know that split
        parts = tuple(part.clone() for part in joined.split(cuts))
    else:
        parts = joined.unsafe_split_with_sizes(cuts)
    outputs = [one_tensor(i, batch.modules[i](part), len(part)) for i, part in zip(visited, parts, strict=True)]
    one_shape(visited, outputs)
    return _reordered(torch.cat(outputs), inverse, order)


# The first that takes a batch runs it. Another one is a function, in a file of its own, and an entry here.
WAYS: tuple[Way, ...] = (no_branch, one_branch, in_bank, in_turn)


def leaves_input_alone(branch: nn.Module) -> bool:
    """Whether a branch is known neither to write into its input nor to hand it back."""
    while not (branch._forward_pre_hooks or branch._forward_hooks or "forward" in branch.__dict__):
        if type(branch) is not nn.Sequential:
            return type(branch) in LEAVE_INPUT_ALONE
        first = next(iter(branch._modules.values()), None)
        if first is None:
            return False
        branch = first
    return False


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
