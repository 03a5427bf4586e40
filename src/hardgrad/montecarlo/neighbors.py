"""Draws that differ from a draw in one unit, as numbers of outcomes, one a unit."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.montecarlo.discrete import Discrete


def numbers_of(d: Discrete, b: Tensor) -> Tensor:
    """Return which outcome each unit of samples ``(*lead, *logits.shape)`` took, shape ``(*lead, *batch, units)``."""
    numbers = b.long() if d.binary else b.argmax(-1)
    return numbers.flatten(numbers.ndim - d.unit_dims) if d.unit_dims else numbers.unsqueeze(-1)


def samples_of(d: Discrete, numbers: Tensor) -> Tensor:
    """Return the samples of such numbers, 0/1 or one-hot, shape ``(*lead, *logits.shape)``."""
    shape = (*numbers.shape[: numbers.ndim - 1 - len(d.batch_shape)], *d.logits.shape)
    if d.binary:
        return numbers.to(d.logits.dtype).reshape(shape)
    ways = torch.arange(d.logits.shape[-1], device=numbers.device)
    return (numbers.unsqueeze(-1) == ways).to(d.logits.dtype).reshape(shape)


def table_of(d: Discrete, t: Tensor, other: Tensor) -> Tensor:
    """Return what each outcome of each unit has, shape ``(*batch, units, outcomes)``.

    Args:
        d: the distribution.
        t: what outcome 1, or each of many, has, shape ``(*logits.shape,)``.
        other: what outcome 0 has, where there are two.
    """
    table = torch.stack([other, t], -1) if d.binary else t
    return table.flatten(len(d.batch_shape), -2) if d.unit_dims else table.unsqueeze(-2)


def neighbors(drawn: Tensor, places: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the other outcomes of some units, and the draws with one of those there; where that cannot be, the draw.

    Args:
        drawn: numbers of outcomes, shape ``(samples, *batch, units)``.
        places: which units, shape ``(samples, *batch, places)``.
        probs: of their outcomes, shape ``(samples, *batch, places, outcomes)``.

    Returns:
        Shapes ``(samples, *batch, places, outcomes - 1)`` and ``(outcomes - 1, places, samples, *batch, units)``.
    """
    ways, units = probs.shape[-1], torch.arange(drawn.shape[-1], device=drawn.device)
    others = (drawn.gather(-1, places).unsqueeze(-1) + torch.arange(1, ways, device=drawn.device)) % ways
    possible = (probs.gather(-1, others) > 0).movedim((-1, -2), (0, 1)).unsqueeze(-1)
    here = (places.unsqueeze(-1) == units).movedim(-2, 0)
    return others, torch.where(here & possible, others.movedim((-1, -2), (0, 1)).unsqueeze(-1), drawn)
