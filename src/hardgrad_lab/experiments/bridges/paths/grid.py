"""Cheapest paths over grids, a batch at once: sums from the last cell backwards, one diagonal a time, then the walk.

Source: Bellman 1958; on a grid without circles one sweep is enough.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = ((1, 1), (1, 0), (0, 1))  # both at once, down, right; the first of equals is taken


def cheapest(cost: Tensor) -> Tensor:
    """Return the cells of the cheapest path from the first cell to the last, ones among zeros.

    Args:
        cost: (B, h, w), of entering each cell, of any sign; steps go right, down, or both.

    Returns:
        Cost's shape and dtype.
    """
    batch, h, w = cost.shape
    left = _left(cost)
    path, rows = torch.zeros_like(cost), torch.arange(batch, device=cost.device)
    i = j = torch.zeros_like(rows)
    path[:, 0, 0] = 1
    moves = torch.tensor(STEPS, device=cost.device)
    for _ in range(h + w - 2):
        there = torch.stack([left[rows, i + down, j + right] for down, right in STEPS], -1)
        step = moves[there.argmin(-1)]
        i, j = (i + step[:, 0]).clamp(max=h - 1), (j + step[:, 1]).clamp(max=w - 1)  # who has arrived stays
        path[rows, i, j] = 1
    return path


def _left(cost: Tensor) -> Tensor:
    """Return what the cheapest way from each cell to the last costs, (B, h + 1, w + 1), without end outside."""
    _, h, w = cost.shape
    left = F.pad(cost, (0, 1, 0, 1), value=torch.inf)
    for diagonal in range(h + w - 3, -1, -1):
        i = torch.arange(max(0, diagonal - w + 1), min(h, diagonal + 1), device=cost.device)
        j = diagonal - i
        onward = torch.stack([left[:, i + down, j + right] for down, right in STEPS]).amin(0)
        left[:, i, j] = cost[:, i, j] + onward
    return left
