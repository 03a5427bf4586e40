r"""Sums over a sorted row, weighed by :math:`e^{-|q - s_j|}`, in n log n: those below q and those above it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad._torch_state import compiling, in_compiled_transform, in_forward_mode, in_transform, readable, tracing


def near(distance: Tensor) -> Tensor:
    """Return exp(-distance) of what is at least 0, and no less than 1e-87: to underflow takes 30 times as long."""
    return distance.clamp(max=200 if distance.dtype is torch.float64 else 80).neg_().exp_()


def scans(v: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum over the sources up to each source, and over those from each on.

    Each step doubles how far they reach. All factors are at most 1, so nothing overflows, whatever the distances.

    Args:
        v: weights, of s's shape or with more dimensions in front.
        s: sources, (..., n), ascending.
    """
    factors = near(s[..., 1:] - s[..., :-1])
    left = v * torch.ones_like(s)
    right = left.clone()
    step, n, look = 1, s.shape[-1], readable(s) and s.numel() > 0
    while step < n:
        left = _plus(left, step, factors * left[..., :-step])
        right = _plus(right, 0, factors * right[..., step:])
        factors = factors[..., :-step] * factors[..., step:]
        step *= 2
        if look and step < n and float(factors.detach().amax()) < 1e-20:
            break
    return left, right


def _plus(sums: Tensor, start: int, more: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return sums + torch.nn.functional.pad(more, (start, sums.shape[-1] - more.shape[-1] - start))
    sums.narrow(-1, start, more.shape[-1]).add_(more)
    return sums


def seen(sums: tuple[Tensor, Tensor], s: Tensor, q: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sums of ``scans`` as each q sees them, of which ``below`` tells how many sources are below it."""
    distances = ((q - at(s, place)).abs() for place in (below - 1, below))
    low, high = (near(distance) for distance in distances)
    return low * at(sums[0], below - 1, 0.0), high * at(sums[1], below, 0.0)


def at(row: Tensor, place: Tensor, outside: float | None = None) -> Tensor:
    """Return the entries of a row, or of several of its shape, in places; outside of it the last, or what is given."""
    inside = place.clamp(0, row.shape[-1] - 1)
    entries = row.gather(-1, inside.expand(*row.shape[:-1], -1))
    return entries if outside is None else torch.where(inside == place, entries, outside)


_eager: dict[Any, Any] = {}


def apply(function: Any, *inputs: Any) -> Any:
    """Return what a ``torch.autograd.Function`` with a context of its own gives, made of differentiable operations.

    They stand alone where torch asks no Function for a derivative, or cannot write one down. In eager code context and
    forward are one: apart, as torch.func needs them, they cost 50 us more.
    """
    if in_compiled_transform() or in_forward_mode() or tracing():
        return function.forward(*inputs)
    if in_transform() or compiling():
        return function.apply(*inputs)
    if function not in _eager:

        def forward(ctx: Any, *inputs: Any) -> Any:
            output = function.forward(*inputs)
            function.setup_context(ctx, inputs, output)
            return output

        parts = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
        _eager[function] = type(function.__name__, (torch.autograd.Function,), parts)
    return _eager[function].apply(*inputs)
