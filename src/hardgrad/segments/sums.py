"""Sums of rows between any two positions, without touching most of the rows again; rows may have weights.

Sums are kept as sizes, means and scatter about the mean, and joined by adding the scatter between the means, so that
nothing large is ever subtracted from anything large: with raw second moments a narrow range far from zero would be all
rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CELLS = 256  # so many equal cells are summed once; a cell's own sums take p^2 numbers


class Moments(NamedTuple):
    """Sums of sets of rows, p columns: size or weight (..., S), mean (..., S, p), scatter about it (..., S, p, p)."""

    size: Tensor
    mean: Tensor
    scatter: Tensor


class Sums:
    """The moments of rows (n, p) between positions.

    Args:
        z: (n, p) float64.
        weight: (n,), above 0; 1 by default.
    """

    def __init__(self, z: Tensor, weight: Tensor | None = None) -> None:
        self.z = z
        self.weight = z.new_ones(len(z)) if weight is None else weight
        self.length = max(1, -(-len(z) // CELLS))
        start = torch.arange(0, len(z), self.length)
        self.cells = _raw(z, self.weight, start, (start + self.length).clamp(max=len(z)))

    def between(self, start: Tensor, end: Tensor) -> Moments:
        """Return the moments of rows start .. end - 1, (S,) each; a set may be empty."""
        first = torch.div(start + (self.length - 1), self.length, rounding_mode="floor")
        last = torch.div(end, self.length, rounding_mode="floor")
        whole = (last - first).clamp(min=0)
        head_end = torch.minimum(end, first * self.length)
        tail_start = torch.maximum(head_end, last * self.length)
        owner = torch.arange(len(start))
        inner = torch.repeat_interleave(owner, whole)
        cell = torch.arange(len(inner)) - (whole.cumsum(0) - whole)[inner] + first[inner]
        raw = torch.stack([torch.cat([start, tail_start]), torch.cat([head_end, end]), torch.cat([owner, owner])])
        raw = raw[:, raw[0] < raw[1]]
        short = raw[1] - raw[0] <= self.length // 8  # padded apart from the long ones
        parts, owners = [Moments(*(each[cell] for each in self.cells))], [inner]
        for group in (raw[:, short], raw[:, ~short]):
            parts.append(_raw(self.z, self.weight, group[0], group[1]))
            owners.append(group[2])
        return _joined(Moments(*map(torch.cat, zip(*parts, strict=True))), torch.cat(owners), len(start))


def _raw(z: Tensor, weight: Tensor, start: Tensor, end: Tensor) -> Moments:
    size = end - start
    row = torch.arange(int(size.max()) if len(size) else 0)
    at = (start[:, None] + row).clamp_(max=len(z) - 1)
    present = ((row < size[:, None]) * weight[at])[:, :, None]
    total = present.sum((1, 2))
    mean = (z[at] * present).sum(1) / total[:, None]
    centerd = z[at] - mean[:, None]
    return Moments(total, mean, (centerd * present).mT @ centerd)


def _joined(parts: Moments, owner: Tensor, sets: int) -> Moments:
    p = parts.mean.shape[1]
    zeros = parts.mean.new_zeros(sets, p)
    count = zeros[:, 0].index_add(0, owner, parts.size)
    mean = zeros.index_add(0, owner, parts.mean * parts.size[:, None]) / count.clamp(min=1)[:, None]
    offset = parts.mean - mean[owner]
    between = offset[:, :, None] * (offset * parts.size[:, None])[:, None]
    return Moments(count, mean, zeros.new_zeros(sets, p, p).index_add(0, owner, parts.scatter + between))


def unions(parts: Moments, member: Tensor) -> Moments:
    """Return the moments of unions of disjoint sets.

    Args:
        parts: P sets, with any leading dimensions.
        member: (S, P) float64, 1 where a set belongs to a union, else 0; no union may be empty.
    """
    weight = member * parts.size[..., None, :]
    count = weight.sum(-1)
    mean = weight @ parts.mean / count[..., None]
    offset = parts.mean[..., None, :, :] - mean[..., None, :]
    between = (offset * weight[..., None]).mT @ offset
    p = parts.mean.shape[-1]
    within = (member @ parts.scatter.flatten(-2)).unflatten(-1, (p, p))
    return Moments(count, mean, within + between)
