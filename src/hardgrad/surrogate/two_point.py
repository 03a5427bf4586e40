"""A value whose backward is a sum of known directions, each times the scalar product of a difference with what comes
in: no Jacobian, and no call of the function that was differenced."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._graft import graft
from hardgrad._torch_state import in_compiled_transform, in_transform
from hardgrad.no_gradient import no_second_derivative, slope_alone

_SENTENCE = (
    "perturb: its gradient has no derivative of its own, since f was asked at these points alone; for second "
    "derivatives use hardgrad.Bridge, whose network has them"
)


def lend(value: Tensor, table: Tensor, difference: Tensor, weight: Tensor, index: Tensor | None) -> Tensor:
    r"""Return ``value``; a cotangent :math:`v` of it gives row b the gradient :math:`\sum_k (v_b \cdot d_{kb}) w_{kb}`.

    Args:
        value: shape ``(batch, ...)``.
        table: what gets the gradient, ``(batch, n)``.
        difference: d, shape ``(samples, batch, numbers of a row of value)``.
        weight: w, shape ``(samples, batch, n)``; with ``index`` ``(samples, batch)``, its one entry that is not zero.
        index: which entry that is, ``(batch, samples)``, or None.
    """
    if in_compiled_transform():
        slope = slope_alone(table, _SENTENCE)
        along = (slope * weight).sum(-1) if index is None else slope.gather(1, index).t() * weight
        path = (along.unsqueeze(-1) * difference).sum(0)
        return graft(value, path.reshape(value.shape))
    function: Any = _LendInTransform if in_transform() else _Lend
    return cast(Tensor, function.apply(value, table, difference, weight, index))


class _Lend(torch.autograd.Function):
    # Context and forward in one: apart, as torch.func needs them, they take three times as long.
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs[1:])
        return cast(Tensor, inputs[0].clone())  # the caller may change it in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        table, difference, weight, index = ctx.saved_tensors
        arriving = grad.reshape(difference.shape[1:]).to(difference.dtype)
        along = (arriving * difference).sum(-1)
        if index is None:
            found = (along.unsqueeze(-1) * weight).sum(0)
        else:
            found = torch.zeros_like(table).scatter_add(1, index, (along * weight).t())
        return None, no_second_derivative(found, table, _SENTENCE), None, None, None


class _LendInTransform(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, table: Tensor, difference: Tensor, weight: Tensor, index: Tensor | None) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    backward = _Lend.backward  # pyright: ignore[reportAssignmentType]
