"""Which branches a row went through in the graphs that gradients came from: what ``drop_unvisited_grads`` goes by."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import after_backward
from hardgrad.switch.routers.router import count


class Marks:
    """Marks each gradient of a branch with the number of rows that the graphs it came from had for that branch.

    A graph runs every branch and gives one without rows a gradient of zeros, which looks like that of a branch whose
    rows are all at a flat place. Counters cannot tell them apart: they see validation, too, and forgotten or repeated
    forwards. What a backward went through can: a leaf of ours is part of each graph, and its gradient is the number of
    rows. The mark is put on the gradient itself, so that it lasts as long: ``zero_grad`` removes both.
    """

    def __init__(self, branches: nn.ModuleList, device: torch.device) -> None:
        self.branches = branches
        device = torch.device("cpu") if device.type == "meta" else device
        with torch.inference_mode(False):
            self.leaf = torch.zeros(len(branches), dtype=torch.float32, device=device, requires_grad=True)
        self.leaf.register_post_accumulate_grad_hook(self._got)

    def on(self, y: Tensor, index: Tensor) -> Tensor:
        """Return y, whose backward marks the gradients that it leads to."""
        return self.of(y, count(index, len(self.branches)))

    def of(self, y: Tensor, rows: Tensor) -> Tensor:
        """The same by the number of rows that each branch had, int64 (branches,)."""
        if not any(parameter.requires_grad for parameter in self.branches.parameters()):
            return y
        return cast(Tensor, _Mark.apply(y, self.leaf, rows))

    def drop(self) -> None:
        """Set to None each gradient that came from graphs without a row for its branch alone."""
        rows: dict[Tensor, list[float]] = {}
        unvisited = []
        for parameter in self.branches.parameters():
            mark = _mark(parameter.grad)
            for each, _ in mark:
                rows[each] = rows.get(each) or each.tolist()
            if mark and not any(rows[each][i] for each, i in mark):
                unvisited.append(parameter)
        for parameter in _without_a_number(unvisited):
            parameter.grad = None

    def _got(self, leaf: Tensor) -> None:
        rows, leaf.grad = cast(Tensor, leaf.grad), None
        after_backward(lambda: self._put(rows))

    def _put(self, rows: Tensor) -> None:
        for i, branch in enumerate(self.branches):
            for parameter in branch.parameters():
                if parameter.grad is not None:
                    setattr(parameter.grad, _NAME, [*_mark(parameter.grad), (rows, i)])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.branches, self.leaf.device)


_NAME = "_hardgrad_rows"


def _mark(grad: Tensor | None) -> list[tuple[Tensor, int]]:
    """For each backward that a gradient is of: the rows of all branches, and which branch it was."""
    return cast(list[tuple[Tensor, int]], getattr(grad, _NAME, []))


def _without_a_number(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Which gradients hold zeros alone, or NaN of nothing.

    Eager code, another layer that shares the parameter or another process may have added to the zeros of a graph.
    """
    grads = [cast(Tensor, parameter.grad) for parameter in parameters]
    if not any(grad.is_sparse for grad in grads) and nn.utils.get_total_norm(grads, math.inf) == 0:
        return parameters  # all of them, as it nearly always is: one question instead of one for each
    values = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    return [p for p, value in zip(parameters, values, strict=True) if not ((value != 0) & (value == value)).any()]


class _Mark(torch.autograd.Function):
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
