"""How solutions move when the task's gradient is added to the cost: the other solve, inside the backward."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor

from hardgrad._torch_state import holds_an_older_batch
from hardgrad.solvers.layer import refuse_second
from hardgrad.solvers.solver import Solver


class Rule(Protocol):
    """What a layer says of its other solve."""

    hard: Solver
    sign: float
    two_sided: bool

    def step(self, cost: Tensor, v: Tensor) -> Tensor:
        """Return how far a cost goes along v, ``(batch, 1)``; both are ``(batch, n)``."""
        ...

    def moved(self, differences: Tensor) -> None:
        """Hear of the differences that were found, ``(samples, batch, n)``."""


def lend(value: Tensor, cost: Tensor, at: Tensor, solved: Tensor, lean: Tensor | None, rule: Rule) -> Tensor:
    r"""Return ``value``, whose gradient v gives the cost the mean of :math:`(y(c_k + \lambda v) - y(c_k)) / \lambda`.

    Args:
        value: ``(batch, *row)``.
        cost: what gets the gradient, of that shape.
        at: the costs :math:`c_k`, ``(samples, batch, *row)``, in single precision at least.
        solved: their solutions.
        lean: what is added to the costs of the other solves, or None.
        rule: the layer.
    """
    return cast(Tensor, cast(Any, _Difference).apply(value, cost, at, solved, lean, rule))


class _Difference(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, *rest: Any) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:5])
        ctx.rule = inputs[5]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cost, at, solved, lean = ctx.saved_tensors
        label = ctx.rule.hard.label
        if holds_an_older_batch(grad):
            raise RuntimeError(f"{label}: its backward solves for one gradient at a time; hand them over one by one")
        with torch.no_grad():
            gradient = _gradient(ctx.rule, at, solved, lean, grad.to(at.dtype)).to(cost.dtype)
        return None, refuse_second(gradient, label, cost, grad), None, None, None, None


def _gradient(rule: Rule, at: Tensor, solved: Tensor, lean: Tensor | None, v: Tensor) -> Tensor:
    v = v.unsqueeze(-1) if v.ndim == 1 else v
    flat = v.flatten(1)
    finite = flat.isfinite().all(1, keepdim=True)  # a row that overflowed gets NaN, which a GradScaler looks for
    flat = torch.where(finite, flat, 0)
    step = rule.step(at.mean(0).reshape(flat.shape), flat)
    along = rule.sign * (step * flat).reshape(at.shape[1:])
    center = at if lean is None else at + lean
    differences = rule.hard.beside(center + along) - (rule.hard.beside(center - along) if rule.two_sided else solved)
    differences = differences.reshape(len(at), *flat.shape)
    rule.moved(differences)
    slope = rule.sign * differences.mean(0) / (step * (2 if rule.two_sided else 1))
    slope = torch.where(step > 0, slope, 0)
    return torch.where(finite, slope, torch.nan).reshape(at.shape[1:])
