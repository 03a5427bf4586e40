"""The temperature a user gives: checked, in the shape of rows, and in their unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import readable
from hardgrad.hard import checks, precision

Temperature = float | Tensor


def of_rows(owner: str, given: Temperature, x: Tensor, dim: int) -> tuple[Tensor | None, Tensor | None]:
    """Return a positive temperature, (..., 1), for rows of x along ``dim``, and where it should be 0.

    Without a temperature all are 0; without a place none is. What is negative where nothing can be read is NaN.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    if not isinstance(given, Tensor):
        number = _check.number(owner, "temperature", given, least=0, cure="0 is the hard function, above it is soft")
        number = min(max(number, 1e-30), 1e30) if number else 0  # so that no unit takes it out of single precision
        return (torch.full((1,), number, dtype=dtype, device=x.device) if number else None), None
    t = _as_rows(owner, _check.floating(owner, "temperature", given), x, dim).to(dtype)
    if readable(t):
        if not bool(((t >= 0) & t.isfinite()).all()):
            raise ValueError(f"{owner}: temperature must be at least 0 and finite, got {t.tolist()}; clamp it")
        if bool((t > 0).all()):
            return t, None
    zero = t == 0
    return torch.where(zero, 1, torch.where(t > 0, t, torch.nan)), zero


def _as_rows(owner: str, t: Tensor, x: Tensor, dim: int) -> Tensor:
    checks.same_device(owner, x, t, "temperature")
    rows = [*x.shape] or [1]
    rows[dim] = 1
    shape = [1] * (len(rows) - t.ndim) + [*t.shape]
    if len(shape) > len(rows) or any(have not in (1, want) for have, want in zip(shape, rows, strict=True)):
        raise ValueError(
            f"{owner}: temperature must be a number, or a tensor of one number or one for each row, which broadcasts "
            f"with {tuple(rows)}, got shape {tuple(t.shape)}"
        )
    return t.reshape(shape).movedim(dim, -1)


def unit(x: Tensor, finite: Tensor | None) -> Tensor:
    """Return the mean gap between neighbors of each row, (..., 1), as its spread tells; 1 where all are equal.

    That is, the gap of evenly spaced values of the same standard deviation: n at distance 1 have a variance of
    (n^2 - 1) / 12. ``finite`` says which entries count, None all.
    """
    wide = precision.double(x)
    if finite is None:
        n: Any = x.shape[-1]
        apart = wide - wide.detach()[..., :1]  # exactly 0 where all are equal
        off = apart - apart.mean(-1, keepdim=True)
        scale = 12 / max(n * (n * n - 1), 1)
    else:
        n = finite.sum(-1, keepdim=True).clamp(min=1).to(wide.dtype)
        least = torch.where(finite, wide.detach(), torch.inf).amin(-1, keepdim=True)
        apart = torch.where(finite, wide - least, 0)
        off = torch.where(finite, apart - apart.sum(-1, keepdim=True) / n, 0)
        scale = 12 / (n * (n * n - 1)).clamp(min=1)
    square = off.square().sum(-1, keepdim=True) * scale
    return torch.where(square > 0, square, 1).sqrt().to(x.dtype)
