"""The exact best choice among candidates, for every number of ranges at once."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.segments.rows import Path, Rows


def candidates_of(rows: Rows, candidates: int) -> Tensor:
    """Return increasing cuts: ``candidates`` quantiles of the key, and the gaps that quantiles step over."""
    places = rows.places
    if len(places) <= candidates:
        return places
    quantiles = torch.linspace(0, rows.n, candidates + 2)[1:-1].round().long()
    # A gap that takes a quarter of the keys' width around it: sensors and knobs rest at some values and skip others.
    around = max(1, rows.n // candidates)
    key = rows.along
    width = key[(places + around).clamp(max=rows.n - 1)] - key[(places - around).clamp(min=0)]
    share = (key[places] - key[places - 1]) / width
    widest = share.topk(min(candidates // 4, len(share))).indices
    chosen = torch.cat([rows.snapped(quantiles), places[widest[share[widest] > 0.25]]])
    return torch.tensor(sorted({*chosen.tolist()}))


def best_cuts(losses: Tensor, cuts: Tensor, most: int) -> Path:
    r"""Return the best choice among the cuts for each number of ranges, by dynamic programming.

    .. math:: C_k(j) = \min_{i < j} C_{k-1}(i) + \text{loss}(i, j)

    Args:
        losses: (m + 2, m + 2) from ``segment_losses``.
        cuts: (m,), the candidates.
        most: the greatest number of ranges.

    Source: Bellman 1961, "On the approximation of curves by line segments using dynamic programming".
    """
    best, came, path = losses[0], list[Tensor](), Path({1: []})
    for ranges in range(2, most + 1):
        best, where = (best[:, None] + losses).min(0)
        came.append(where)
        if not best[-1].isfinite():
            break
        at, chosen = len(losses) - 1, []
        for step in reversed(came):
            at = int(step[at])
            chosen.append(int(cuts[at - 1]))
        path[ranges] = chosen[::-1]
    return path
