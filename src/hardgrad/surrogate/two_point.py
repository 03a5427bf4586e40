"""A value whose backward is a sum of known directions, each times the scalar product of a difference with what comes
in: no Jacobian, and no call of the function that was differenced."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._graft import graft
from hardgrad._torch_state import in_compiled_transform, in_transform
from hardgrad.no_gradient import no_second_derivative, slope_alone

_SENTENCE = (
    "perturb: its gradient has no derivative of its own, since f was asked at a few points alone; for second "
    "derivatives use hardgrad.Bridge"
)


def lend(value: Tensor, x: Tensor, difference: Tensor, weight: Tensor) -> Tensor:
    r"""Return ``value``; a cotangent :math:`v` of it gives row b of x the gradient :math:`\sum_k (v_b d_{kb}) w_{kb}`.

    Args:
        value: shape ``(batch, ...)``.
        x: what gets the gradient, ``(batch, n)``.
        difference: d, shape ``(samples, *value.shape)``.
        weight: w, shape ``(samples, batch, n)``.
    """
    difference = difference.reshape(*weight.shape[:2], math.prod(value.shape[1:]))
    if in_compiled_transform():
        along = (slope_alone(x, _SENTENCE) * weight).sum(-1, keepdim=True)
        return graft(value, (along * difference).sum(0).reshape(value.shape))
    function: Any = _LendInTransform if in_transform() else _Lend
    return cast(Tensor, function.apply(value, x, difference, weight))


class _Lend(torch.autograd.Function):
    # Context and forward in one: apart, as torch.func needs them, they take three times as long.
    @staticmethod
    def forward(ctx: Any, value: Tensor, *rest: Tensor) -> Tensor:
        ctx.save_for_backward(*rest)
        return value.clone()  # the caller may change it in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, difference, weight = ctx.saved_tensors
        along = (grad.reshape(difference.shape[1:]).to(difference.dtype) * difference).sum(-1, keepdim=True)
        return None, no_second_derivative((along * weight).sum(0).to(x.dtype), x, _SENTENCE), None, None


class _LendInTransform(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, *rest: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    backward = _Lend.backward  # pyright: ignore[reportAssignmentType]
