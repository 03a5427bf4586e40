"""Which branches a row went through in the graphs that gradients came from: what ``drop_unvisited_grads`` goes by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import after_backward, exporting, in_transform

# What one backward says of a gradient: the rows that each branch had, and which branch the gradient is of.
Mark = tuple[Tensor, int]


class Marks:
    """Marks the gradients of each branch with the number of rows that the graphs they came from had for that branch.

    A graph runs every branch and gives one without rows a gradient of zeros, which looks like that of a branch whose
    rows are all at a flat place. Counters cannot tell them apart: they see validation, too, and forgotten or repeated
    forwards. What a backward went through can: a leaf of ours is part of each graph, and its gradient is the number of
    rows. The mark is put on a gradient itself, so that it lasts as long: ``zero_grad`` removes both.
    """

    def __init__(self, branches: nn.ModuleList, device: torch.device) -> None:
        self.branches = branches
        device = torch.device("cpu") if device.type == "meta" else device
        with torch.inference_mode(False):
            self.leaf = torch.zeros(len(branches), dtype=torch.float32, device=device, requires_grad=True)
        self.leaf.register_post_accumulate_grad_hook(self._got)

    def wanted(self) -> bool:
        """Whether a backward may follow that leads to gradients of this process."""
        return torch.is_grad_enabled() and not in_transform() and not exporting()

    def of(self, y: Tensor, rows: Tensor) -> Tensor:
        """Return y, whose backward marks the gradients that it leads to; rows is int64 (branches,)."""
        return cast(Tensor, Marked.apply(y, self.leaf, rows)) if self.wanted() and y.requires_grad else y

    def drop(self) -> None:
        """Set to None each gradient that came from graphs without a row for its branch alone."""
        read: dict[Tensor, list[float]] = {}
        visited: set[nn.Parameter] = set()
        unvisited: dict[nn.Parameter, None] = {}
        for branch in self.branches:
            held = [parameter for parameter in branch.parameters() if parameter.grad is not None]
            marks = [mark for parameter in held for mark in _marks(parameter)]
            for rows, _ in marks:
                read[rows] = read.get(rows) or rows.tolist()
            if any(read[rows][i] for rows, i in marks):
                visited.update(held)
            elif marks:
                unvisited.update(dict.fromkeys(held))
        for parameter in _without_a_number([parameter for parameter in unvisited if parameter not in visited]):
            parameter.grad = None

    def _got(self, leaf: Tensor) -> None:
        rows, leaf.grad = cast(Tensor, leaf.grad), None
        after_backward(lambda: self._put(rows))

    def _put(self, rows: Tensor) -> None:
        for i, branch in enumerate(self.branches):
            parameter = next((held for held in _parameters(branch) if held.grad is not None), None)
            if parameter is not None:  # one gradient stands for all of its branch
                setattr(parameter.grad, _NAME, [*_marks(parameter), (rows, i)])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.branches, self.leaf.device)


_NAME = "_hardgrad_rows"


def _marks(parameter: nn.Parameter) -> list[Mark]:
    return cast(list[Mark], getattr(parameter.grad, _NAME, []))


def _parameters(branch: nn.Module) -> Iterator[nn.Parameter]:
    """As ``branch.parameters()``, which takes longer to get to the first."""
    for parameter in branch._parameters.values():
        if parameter is not None:
            yield parameter
    for part in branch._modules.values():
        if part is not None:
            yield from _parameters(part)


def _without_a_number(parameters: list[nn.Parameter]) -> Iterable[nn.Parameter]:
    """Which gradients hold zeros alone, or NaN of nothing.

    Eager code, another layer that shares the parameter or another process may have added to the zeros of a graph.
    """
    grads = [cast(Tensor, parameter.grad) for parameter in parameters]
    if not any(grad.is_sparse for grad in grads) and nn.utils.get_total_norm(grads, math.inf) == 0:
        return parameters  # all of them, as it nearly always is: one question instead of one for each
    values = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    return [p for p, value in zip(parameters, values, strict=True) if not ((value != 0) & (value == value)).any()]


class Marked(torch.autograd.Function):
    """The identity in y; the leaf gets the rows of each branch, whatever y's gradient is."""

    @staticmethod
    def forward(y: Tensor, leaf: Tensor, rows: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])
        ctx.device = inputs[1].device

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (rows,) = ctx.saved_tensors
        return grad, rows.to(ctx.device, torch.float32), None
