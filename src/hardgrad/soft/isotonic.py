"""Isotonic regression of many rows at once: which entries pool, found by merging halves instead of walking.

A row is cut into single entries, and neighbors are merged, log2(n) times. To merge two halves that are each in order,
one level c is enough: what lies above it on the left and below it on the right becomes c, the rest stays. c is where
the excess on the left is the lack on the right, a falling line with a bend at each value, so a sort of the values and
running sums find it. Nothing depends on the numbers but the numbers: no loop over rows, no condition.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def blocks(u: Tensor) -> Tensor:
    r"""Return for each entry of the last dimension the number of the block that it is pooled in.

    .. math:: \min_v \tfrac12 \|v - u\|^2 \quad \text{with} \quad v_0 \le v_1 \le \dots

    v is the mean of u over each block. Equals that nothing pools are blocks of one, for so they are on either side.

    Args:
        u: shape (..., n), in double precision where there is one.

    Returns:
        Whole numbers, shape (..., n), not falling, from 0.
    """
    n = u.shape[-1]
    if n < 2:
        return torch.zeros_like(u, dtype=torch.int64)
    size = 1 << (n - 1).bit_length()
    # The largest value of the row, put at its end, pools with nothing.
    v = torch.cat([u, u.amax(-1, keepdim=True).expand(*u.shape[:-1], size - n)], -1)
    half = 1
    while half < size:
        v = _merged(v.unflatten(-1, (-1, 2 * half)), half).flatten(-2)
        half *= 2
    v = v[..., :n]
    rises = v[..., 1:] > v[..., :-1]
    run = _numbered(rises)
    moved = torch.zeros_like(run).scatter_add(-1, run, (v != u).to(run.dtype)).gather(-1, run)
    return _numbered(rises | (moved[..., 1:] == 0))


def _numbered(begins: Tensor) -> Tensor:
    return pad(begins.to(torch.int64).cumsum(-1), (1, 0))


def pooled(y: Tensor, block: Tensor) -> Tensor:
    """Return the mean of y over each block, at each of its entries: linear in y."""
    zeros = torch.zeros_like(y)
    total = zeros.scatter_add(-1, block, y)
    count = zeros.scatter_add(-1, block, torch.ones_like(y))
    return (total / count.clamp_min(1)).gather(-1, block)


def _merged(v: Tensor, half: int) -> Tensor:
    """Merge the halves of the last dimension, each in order."""
    level = _level(v, half)
    merged = torch.cat([torch.minimum(v[..., :half], level), torch.maximum(v[..., half:], level)], -1)
    return torch.where(v[..., half - 1 : half] > v[..., half : half + 1], merged, v)


def _level(v: Tensor, half: int) -> Tensor:
    """Return c, where the sum of (left - c)+ is that of (c - right)+, if something pools."""
    values, index = v.sort(-1)
    left = (index < half).to(v.dtype)
    right = 1 - left
    above = left.sum(-1, keepdim=True) - left.cumsum(-1)
    below = right.cumsum(-1)
    weighted = left * values
    total = weighted.sum(-1, keepdim=True) - weighted.cumsum(-1) + (right * values).cumsum(-1)
    # Where the excess is still at least the lack: true at the smallest value, and false from some value on.
    last = ((total - (above + below) * values >= 0).sum(-1, keepdim=True) - 1).clamp_min(0)
    return total.gather(-1, last) / (above + below).gather(-1, last).clamp_min(1)
