"""How solutions move when the task's gradient is added to the cost: the other solve, inside the backward."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._torch_state import holds_an_older_batch
from hardgrad.solvers.layer import refuse_second


def lend(value: Tensor, cost: Tensor, at: Tensor, solved: Tensor, lean: Tensor | None, layer: Any) -> Tensor:
    r"""Return ``value``, whose gradient v gives the cost the mean of :math:`(y(c_k + \lambda v) - y(c_k)) / \lambda`.

    Args:
        value: ``(batch, *row)``.
        cost: what gets the gradient, of that shape.
        at: the costs :math:`c_k`, ``(samples, batch, *row)``, in single precision at least.
        solved: their solutions.
        lean: what is added to the costs of the other solves, or None.
        layer: a ``SolverLayer`` with ``two_sided``; with ``step(at, v)``, the :math:`\lambda` of each row,
            ``(batch, 1)``, for ``(batch, n)``; with ``moved(differences)``, told of those, ``(samples, batch, n)``.
    """
    return cast(Tensor, cast(Any, _Difference).apply(value, cost, at, solved, lean, layer))


class _Difference(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, *rest: Any) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:5])
        ctx.layer = inputs[5]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cost, at, solved, lean = ctx.saved_tensors
        label = ctx.layer.hard.label
        if holds_an_older_batch(grad):
            raise RuntimeError(f"{label}: its backward solves for one gradient at a time; hand them over one by one")
        with torch.no_grad():
            gradient = _gradient(ctx.layer, at, solved, lean, grad.to(at.dtype)).to(cost.dtype)
        return None, refuse_second(gradient, label, cost, grad), None, None, None, None


def _gradient(layer: Any, at: Tensor, solved: Tensor, lean: Tensor | None, v: Tensor) -> Tensor:
    v = v.unsqueeze(-1) if v.ndim == 1 else v
    flat = v.flatten(1)
    finite = flat.isfinite().all(1, keepdim=True)  # a row that overflowed gets NaN, which a GradScaler looks for
    flat = torch.where(finite, flat, 0)
    step = layer.step(at.mean(0).reshape(flat.shape), flat)
    along = layer.sign * (step * flat).reshape(at.shape[1:])
    center = at if lean is None else at + lean
    differences = layer.hard.beside(center + along) - (layer.hard.beside(center - along) if layer.two_sided else solved)
    differences = differences.reshape(len(at), *flat.shape)
    layer.moved(differences)
    slope = layer.sign * differences.mean(0) / (step * (2 if layer.two_sided else 1))
    slope = torch.where(step > 0, slope, 0)
    return torch.where(finite, slope, torch.nan).reshape(at.shape[1:])
