"""Where codes begin: drawn, given, or k-means of the first training batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.codebook.everywhere import added, rows_at, sizes_of
from hardgrad.hard.distances import nearest_row

# Of k-means: more of any moves its means by less than the next batches do.
_ROWS_A_CODE, _DRAWS, _ROUNDS = 16, 128, 8


def first_codes(heads: int, codes: int, width: int, start: str | Tensor) -> Tensor:
    """Return (heads, codes, width): a copy of what is given, else normal draws, which k-means will replace."""
    if isinstance(start, str):
        _check.one_of("Codebook", "start", start, ("kmeans", "normal"), cure="or give the codes, a tensor")
        return torch.randn(heads, codes, width) / math.sqrt(width)
    given = _check.floating("Codebook", "start", start).detach()
    if given.shape == (codes, heads * width):
        given = given.unflatten(1, (heads, width)).transpose(0, 1)
    if given.shape != (heads, codes, width):
        raise ValueError(
            f"Codebook: start must have shape {(codes, heads * width)} or {(heads, codes, width)}, got "
            f"{tuple(given.shape)}; give as many codes as the layer has"
        )
    if not (given.is_meta or bool(given.isfinite().all())):
        raise ValueError("Codebook: start must be finite, got codes with NaN or infinity; look for what made them")
    return given.contiguous().clone()


def _started(weight: Tensor, done: Tensor, rows: Tensor, keep: Tensor | None, phase: Tensor) -> Tensor:
    """Return the codes to begin with, (heads, codes, width of a head); those there are, if they are begun already.

    All processes find the same: k-means of the same rows, picked from all of theirs.
    """
    if bool(done):  # another process read them from a file, and they were sent here
        return weight.clone()
    heads, codes, _ = weight.shape
    sizes = added(sizes_of(rows, keep))
    total = int(sizes.sum())
    if total < codes:
        raise ValueError(
            f"Codebook: the first training batch must have at least {codes} rows for start='kmeans', one a code, got "
            f"{total}; give a larger first batch, start='normal', or codes of your own as start"
        )
    generator = torch.Generator().manual_seed(int(phase))
    place = torch.randperm(total, generator=generator)[: codes * _ROWS_A_CODE].to(rows.device)
    sample = added(rows_at(rows, keep, sizes, place.expand(heads, -1)))
    with torch.autocast(rows.device.type, enabled=False):
        return torch.stack([means(of_head, codes, generator) for of_head in sample]).to(weight.dtype)


def means(rows: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return the means (k, w) of k clusters of rows (n, w), in memory linear in n + k.

    The first centers are rows drawn a few at a time, in proportion to their squared distance from those drawn before.
    Lloyd's rounds follow; a cluster that runs empty restarts at a row drawn in the same way.
    """
    centers, gap = rows[:0], rows.new_ones(len(rows))
    while len(centers) < k:
        more = rows[_drawn(gap, min(-(-k // _DRAWS), k - len(centers)), generator)]
        apart = _nearest(rows, more)[1]
        gap = torch.minimum(gap, apart) if len(centers) else apart
        centers = torch.cat([centers, more])
    for _ in range(_ROUNDS):
        index, gap = _nearest(rows, centers)
        count = torch.bincount(index, minlength=k)
        moves = torch.zeros_like(centers).index_add_(0, index, rows - centers[index])
        centers = centers + moves / count.clamp(min=1).unsqueeze(-1)
        empty = count == 0
        centers[empty] = rows[_drawn(gap, int(empty.sum()), generator)]
    return centers


def _nearest(rows: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The center of each row, and the squared distance from it."""
    index = nearest_row(rows, centers)
    return index, (rows - centers[index]).square().sum(-1)


def _drawn(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` indices in proportion to ``weights`` (n,), one from each part of their sum; any, if it is 0."""
    heights = weights.double().cumsum(0)
    parts = (torch.arange(count) + torch.rand(count, generator=generator)).to(weights.device) / max(count, 1)
    return torch.searchsorted(heights, parts * heights[-1], right=True).clamp(max=len(weights) - 1)


def _same_shape(weight: Tensor, done: Tensor, rows: Tensor, keep: Tensor | None, phase: Tensor) -> Tensor:
    return torch.empty_like(weight)


# One operator, so that torch.compile need not see how many rows there are, nor that they are read.
_library = torch.library.Library("hardgrad", "FRAGMENT")
_library.define("started_codes(Tensor weight, Tensor done, Tensor rows, Tensor? keep, Tensor phase) -> Tensor")
_library.impl("started_codes", _started, "CompositeExplicitAutograd")
torch.library.register_fake("hardgrad::started_codes", _same_shape, lib=_library)
