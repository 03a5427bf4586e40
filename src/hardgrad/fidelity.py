"""How well a network imitates: the squared error that it learns from, and what a user is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._shown.page import page
from hardgrad._shown.pictures import bar
from hardgrad._shown.table import Table
from hardgrad._torch_state import in_transform


@dataclass(frozen=True)
class Fidelity:
    r"""How well a bridge imitated its hard function on the last training batch.

    Args:
        relative_error: :math:`\lVert \text{approximation} - \text{hard}(x) \rVert / \lVert \text{hard}(x) \rVert`;
            0 is a perfect imitation, 1 is what a constant zero would score.
        gradient_norm: norm of the gradient lent to the layer's input. None before the first backward, and where the
            layer is compiled or runs under ``torch.func``, or the gradients are batched.
    """

    relative_error: float
    gradient_norm: float | None

    def __str__(self) -> str:
        """Return both numbers, short."""
        norm = "not known" if self.gradient_norm is None else f"{self.gradient_norm:.3g}"
        return f"relative error {self.relative_error:.3g}, gradient norm {norm}"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook."""
        norm = "not known" if self.gradient_norm is None else f"{self.gradient_norm:.3g}"
        rows = [
            ("relative error", f"{self.relative_error:.3g}", "0 is perfect, 1 is what a constant zero scores"),
            ("gradient norm", norm, "of what was lent to the input"),
        ]
        table = Table(("", "last batch", ""), rows, {1: (bar(self.relative_error), "")}, left=(0, 2))
        return page(table.html("how well a bridge imitated its hard function"))


class _SquaredNorm(torch.autograd.Function):
    """Sum of squares. A layer's output fits no cache, and torch's own ways write it out once or twice more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        norm: Tensor = torch.linalg.vector_norm(x)
        return norm.square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return cast(Tensor, x * (2 * grad))


def squared_norm(x: Tensor) -> Tensor:
    """Return the sum of squares of a tensor of any shape, shape ()."""
    if in_transform():  # compiled, torch would differentiate the norm, which has no derivative at 0
        return x.square().sum()
    return cast(Tensor, cast(Any, _SquaredNorm).apply(x))
