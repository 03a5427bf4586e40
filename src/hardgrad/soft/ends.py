"""Infinities and NaNs: the ends of an order, which mix with nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad._torch_state import readable


def finite_of(x: Tensor) -> Tensor | None:
    """Return which entries are finite, None if all are known to be."""
    if readable(x) and bool(x.detach().sum().isfinite()):  # a sum that overflows costs time alone
        return None
    return x.isfinite()


def set_apart(x: Tensor, finite: Tensor, t: Tensor) -> Tensor:
    """Return x with the others where nothing reaches them: -inf below all, inf above all, NaN above that."""
    fixed = x.detach()
    low = torch.where(finite, fixed, torch.inf).amin(-1, keepdim=True)
    high = torch.where(finite, fixed, -torch.inf).amax(-1, keepdim=True)
    none = low > high
    low, high = torch.where(none, 0, low), torch.where(none, 0, high)
    far = (high - low) + 1e4 * t.detach()
    ends = torch.where(fixed.isnan(), high + 2 * far, torch.where(fixed > 0, high + far, low - far))
    return torch.where(finite, x, ends)


def put_back(ordered: Tensor, x: Tensor, start: int, stop: int) -> Tensor:
    """Return values of places ``start`` to before ``stop`` of the ascending order with x's infinities and NaNs."""
    place = torch.arange(start, stop, device=x.device)
    below, above, nan = (part.sum(-1, keepdim=True) for part in (x == -torch.inf, x == torch.inf, x.isnan()))
    ordered = torch.where(place < below, -torch.inf, ordered)
    ordered = torch.where(place >= x.shape[-1] - nan - above, torch.inf, ordered)
    return torch.where(place >= x.shape[-1] - nan, torch.nan, ordered)
