"""Draws that cannot be reparameterised."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.hard.thresholds import keep_nan


def bernoulli(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return 1 with probability ``p``, else 0, independently.

    Args:
        p: probabilities, any shape; below 0 acts as 0, above 1 as 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of p's shape; NaN where p is.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.bernoulli(torch.tensor([0.0, 1.0])).tolist()
        [0.0, 1.0]

    Source: the non-reparameterised Bernoulli of Ramapuram and Webb 2020 (arXiv 1905.03658), table III.
    """
    # A uniform of single precision whatever the dtype: one of half precision rounds to 1 or repeats itself.
    return keep_nan((_uniform(p, p.shape, generator) < p).to(p.dtype), p)


def categorical(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return a one-hot sample of each distribution along the last dimension.

    Args:
        p: shape (..., n), non-negative weights that need not sum to one.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of p's shape, NaN where the weights hold NaN or are all zero. A class of weight zero is never drawn.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.categorical(torch.tensor([0.0, 2.0, 0.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    cumulated = p.to(torch.promote_types(p.dtype, torch.float32)).cumsum(-1)
    # Of 24 random bits, or 53, the product with the total never rounds up to it: u stays in a class that has weight.
    total = cumulated[..., -1:]
    u = _uniform(p, (*p.shape[:-1], 1), generator) * total
    index = (cumulated <= u).sum(-1, keepdim=True).clamp(max=p.shape[-1] - 1)
    drawn = torch.zeros_like(p).scatter(-1, index, torch.ones_like(index, dtype=p.dtype))
    return torch.where(total > 0, drawn, torch.nan)


def _uniform(like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    if generator is None:  # ONNX knows only the form without the argument
        return torch.rand(shape, dtype=dtype, device=like.device)
    return torch.rand(shape, generator=generator, dtype=dtype, device=like.device)
