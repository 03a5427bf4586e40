"""In which precision the hard functions compute, and how their results go back to the input's."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad._torch_state import in_transform


def single(x: Tensor) -> Tensor:
    """Return x in single precision at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def double(x: Tensor, *, copy: bool = False) -> Tensor:
    """Return x in double precision; in single on a device that has no other."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64, copy=copy)


def back(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Round a result to ``dtype``: to half by way of single precision, so that half is the float32 result, rounded."""
    return y.to(torch.promote_types(dtype, torch.float32)).to(dtype)


def reached(x: Tensor, threshold: float | Tensor) -> Tensor:
    """Return 1 where x is at least the threshold, else 0, in the memory of x, which nobody else may need."""
    if in_transform():  # vmap has no comparison in place
        return (x >= threshold).to(x.dtype)
    return x.ge_(threshold)  # torch writes a comparison into floats several times as fast as into bools


def keep_nan(y: Tensor, x: Tensor) -> Tensor:
    """Return ``y``, but NaN where ``x`` is."""
    return torch.where(x.isnan(), x, y)


def middling(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Return a power of two for each slice along ``dim`` that brings its largest entry near enough to 1.

    Sums and squares of what it multiplies neither overflow nor vanish in double precision, and are otherwise unchanged.
    """
    largest = x.detach().abs().amax(dim, keepdim=True)
    scale = torch.ones_like(largest)
    if x.dtype != torch.float64:
        return scale
    # Squares of 2^424 and of 2^-474, the ends that are left, are ordinary numbers, and so are sums of many.
    return scale.masked_fill(largest > 2.0**400, 2.0**-600).masked_fill(largest < 2.0**-400, 2.0**600)
