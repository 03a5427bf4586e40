r"""Sums over all pairs of two sorted rows, by the Laplace kernel, in n log n; their derivatives are such sums again.

.. math:: \text{step: } \sum_j v_j F(q_i - s_j), \quad \text{even: } \sum_j v_j e^{-|q_i - s_j|}, \quad
    \text{odd: } \sum_j v_j \,\text{sign}(q_i - s_j)\, e^{-|q_i - s_j|}, \qquad F'(u) = \tfrac12 e^{-|u|}
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor

from hardgrad._torch_state import in_compiled_transform, in_forward_mode, readable

Kind = Literal["step", "even", "odd"]
Counts = Tensor | None  # for each entry of one row, how many of the other are at most that; None: they are one row


def plain() -> bool:
    """Whether torch wants plain operations here, for it does not ask a Function for its derivative."""
    return in_compiled_transform() or in_forward_mode()


def scans(v: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return the even sum over the sources up to each source, and over those from each source on.

    Each step doubles how far they reach. All factors are at most 1, so nothing overflows and nothing cancels.
    """
    factors = torch.exp(s[..., :-1] - s[..., 1:])
    left = right = v
    step, n = 1, s.shape[-1]
    while step < n:
        left = torch.cat([left[..., :step], torch.addcmul(left[..., step:], factors, left[..., :-step])], -1)
        right = torch.cat([torch.addcmul(right[..., :-step], factors, right[..., step:]), right[..., -step:]], -1)
        factors = factors[..., :-step] * factors[..., step:]
        step *= 2
        if factors.numel() and readable(factors) and float(factors.detach().amax()) < 1e-30:
            break
    return left, right


def kernel_sum(v: Tensor, s: Tensor, q: Tensor, kind: Kind, up: Counts = None, down: Counts = None) -> Tensor:
    """Return one of the three sums at every q.

    Args:
        v: weights of the sources, (..., n).
        s: sources, (..., n), ascending.
        q: where sums are asked for, (..., m), ascending.
        kind: which of the sums.
        up: (..., m), how many of s are at most each q.
        down: (..., n), how many of q are at most each s.
    """
    if plain():
        return _sum(v, s, q, kind, up)
    return cast(Tensor, cast(Any, _KernelSum).apply(v, s, q, kind, up, down))


class _KernelSum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, s: Tensor, q: Tensor, kind: Kind, up: Counts, down: Counts) -> Tensor:
        return _sum(v, s, q, kind, up)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        v, s, q, ctx.kind, up, down = inputs
        ctx.save_for_backward(v, s, q, up, down)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        v, s, q, up, down = ctx.saved_tensors
        back = kernel_sum(grad, q, s, ctx.kind, down, up) if ctx.needs_input_grad[0] else None
        if back is not None and ctx.kind != "even":
            back = -back if ctx.kind == "odd" else grad.sum(-1, keepdim=True) - back
        # The derivative in q is the factor times the sum of the other kind; seen from s, an even sum changes its sign.
        kind: Kind = "odd" if ctx.kind == "even" else "even"
        factor = 0.5 if ctx.kind == "step" else -1.0
        to_s = to_q = None
        if ctx.needs_input_grad[1]:
            to_s = (factor if kind == "odd" else -factor) * v * kernel_sum(grad, q, s, kind, down, up)
        if ctx.needs_input_grad[2]:
            to_q = factor * grad * kernel_sum(v, s, q, kind, up, down)
        return back, to_s, to_q, None, None, None


def _sum(v: Tensor, s: Tensor, q: Tensor, kind: Kind, up: Counts) -> Tensor:
    left, right = scans(v, s)
    if kind == "odd":  # a pair at one place has no sign, so it counts on neither side
        s, q = s.contiguous(), q.contiguous()
        below, above = (torch.searchsorted(s, q, right=right) for right in (False, True))
        return _seen(left, s, q, below - 1) - _seen(right, s, q, above)
    if up is None:
        right = right - v
    else:
        left, right = _seen(left, s, q, up - 1), _seen(right, s, q, up)
    if kind == "even":
        return left + right
    sums = v.cumsum(-1)
    sums = sums if up is None else _at(sums, up - 1)
    return sums + 0.5 * (right - left)


def _seen(sums: Tensor, s: Tensor, q: Tensor, place: Tensor) -> Tensor:
    """Sums at the source in a place, as q sees them from where it is."""
    nearest = s.gather(-1, place.clamp(0, s.shape[-1] - 1))
    return _at(sums, place) * torch.exp(-(q - nearest).abs())


def _at(sums: Tensor, place: Tensor) -> Tensor:
    """Sums in a place, 0 where there is no such place."""
    inside = place.clamp(0, sums.shape[-1] - 1)
    return torch.where(inside == place, sums.gather(-1, inside), 0)
