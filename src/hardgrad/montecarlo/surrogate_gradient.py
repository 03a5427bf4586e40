"""An estimate: the value f had, carrying the gradient that an estimator found."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._graft import graft
from hardgrad._torch_state import hides_requires_grad, in_compiled_transform, in_transform
from hardgrad.montecarlo.discrete import Discrete
from hardgrad.montecarlo.objective import Objective, evaluate, evaluate_differentiable
from hardgrad.no_gradient import no_second_derivative, once_differentiable, slope_alone


def wants_gradient(q: Discrete) -> bool:
    """Whether anybody will ask for a gradient with respect to q; if not, f at hard samples is all there is to do."""
    # Inside a transform a tensor does not tell: under vmap inside grad it denies what the grad will ask for.
    return torch.is_grad_enabled() and (hides_requires_grad() or q.logits.requires_grad)


def estimate(values: Tensor, q: Discrete, gradient: Tensor) -> Tensor:
    """Return the mean of f's values with a given gradient with respect to the logits.

    Args:
        values: f at hard samples, shape ``(samples, *batch)``; f's own parameters get their gradient through it.
        q: the distribution.
        gradient: of the expectation with respect to ``q.logits``, its shape; no gradient flows into it.

    Returns:
        Shape ``(*batch,)``.
    """
    value = values.mean(0)
    if not in_compiled_transform():
        kind = _SurrogateGradientInTransform if in_transform() else _SurrogateGradient
        return cast(Tensor, kind.apply(value, q.logits, gradient.detach(), q.estimator))
    surrogate = slope_alone(q.logits, _no_second(q.estimator)) * gradient.detach()
    return value + q.sum_event(surrogate).to(value.dtype)


class _SurrogateGradient(torch.autograd.Function):
    """A value as it is; in backward each row's gradient goes on to its logits, times what was found for them.

    One Function, not a product to be summed: a logit of -inf, of an outcome that cannot happen, would make that NaN.
    """

    # Context and forward in one: apart, as torch.func needs them, they take three times as long (17 us, not 5).
    @staticmethod
    def forward(ctx: Any, value: Tensor, logits: Tensor, gradient: Tensor, estimator: str) -> Tensor:
        ctx.save_for_backward(logits, gradient)
        ctx.estimator = estimator
        return value.clone()  # the caller may change it in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, gradient = ctx.saved_tensors
        rows = grad.reshape(grad.shape + (1,) * (gradient.ndim - grad.ndim))
        surrogate = (rows * gradient).to(logits.dtype)
        return grad, no_second_derivative(surrogate, logits, _no_second(ctx.estimator)), None, None


class _SurrogateGradientInTransform(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, logits: Tensor, gradient: Tensor, estimator: str) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, str], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])
        ctx.estimator = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _SurrogateGradient.backward(ctx, grad)


def _no_second(estimator: str) -> str:
    return (
        f"{estimator}: its surrogate gradient has no derivative of its own; for second derivatives use "
        "hardgrad.score_function or hardgrad.exact"
    )


def first_order(x: Tensor, q: Discrete) -> Tensor:
    """Return ``x``, whose gradient says so when it is differentiated again instead of being silently wrong."""
    if in_compiled_transform():
        return x.detach() + slope_alone(x, _no_second(q.estimator))
    return once_differentiable(x, _no_second(q.estimator))


def through(f: Objective, b: Tensor, path: Tensor, q: Discrete) -> Tensor:
    """Return the mean of f at hard samples whose gradient goes on along ``path``.

    Args:
        f: the objective.
        b: hard samples, shape ``(samples, *q.logits.shape)``.
        path: what the gradient of f with respect to the samples flows through, the shape of ``b`` or one that expands
            to it.
        q: the distribution.

    Returns:
        Shape ``(*batch,)``.
    """
    # A path may also carry what an approximator learns from, with nobody asking for q's gradient.
    if not (wants_gradient(q) or (torch.is_grad_enabled() and path.requires_grad)):
        return evaluate(f, q.shown(b), q).mean(0)
    surrogate = graft(b, first_order(path.expand_as(b), q))
    return evaluate_differentiable(f, q.shown(surrogate), q).mean(0)
