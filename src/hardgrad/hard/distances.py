"""Which of a few vectors is nearest to each of many, in memory that grows with the vectors and not with their product.

Distances are taken in double precision, from differences: expanding the square loses those of close vectors far from
zero. Where they are equal there, the first of the few counts as the nearest.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from hardgrad._torch_state import exporting, in_graph, in_transform, readable
from hardgrad.hard.precision import double
from hardgrad.hard.screen import Screen, distance

# Distances at a time where the vectors themselves take less: 512 KB, so that few rows do not make many steps.
_AT_ONCE = 2**16


def nearest(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest of ``centers`` (..., k, d) from each of ``points`` (..., n, d), and its index.

    Both are of shape (..., n). A distance that is NaN, as from a NaN or between infinities, counts as infinite.
    """
    best: tuple[Tensor, Tensor] | None = None
    start = 0
    for few in centers.detach().split(_step(points, centers.shape[-2]), dim=-2):
        gap, index = _gaps(points.detach(), few).nan_to_num(nan=torch.inf, posinf=torch.inf).min(-1)
        index = index + start
        start += few.shape[-2]
        if best is not None:
            nearer = gap < best[0]
            gap, index = torch.where(nearer, gap, best[0]), torch.where(nearer, index, best[1])
        best = gap, index
    assert best is not None  # there is at least one center
    return best


def nearest_row(points: Tensor, codes: Tensor) -> Tensor:
    """Return the index of the nearest row of ``codes`` (k, d) for each of ``points`` (n, d): what ``nearest`` finds.

    In eager code on a CPU, and from a compiled graph, a matrix product leaves few codes for each row; see ``screen``.
    """
    points, codes = points.detach(), codes.detach()
    if exporting() or in_transform() or not in_graph():
        return _nearest_row(points, codes)
    return cast(Tensor, torch.ops.hardgrad.nearest_row(points, codes))


def _nearest_row(points: Tensor, codes: Tensor) -> Tensor:
    few = len(codes) <= 16 or codes.numel() < 512 or points.numel() * len(codes) < _AT_ONCE
    if few or not readable(points):
        return nearest(double(points), double(codes))[1]
    index = torch.where(points.isfinite().all(-1), -1, 0)  # as far from all codes as from the first
    cells = min(2**22, max(4 * _AT_ONCE, points.numel() + codes.numel()))
    with torch.autocast("cpu", enabled=False):
        for dtype in _precisions(points.shape[-1]):
            left = (index < 0).nonzero().squeeze(-1)
            if len(left):
                index[left] = Screen(codes, dtype).nearest(points if len(left) == len(index) else points[left], cells)
    left = (index < 0).nonzero().squeeze(-1)
    if len(left):
        index[left] = nearest(double(points[left]), double(codes))[1]
    return index


def _precisions(width: int) -> tuple[torch.dtype, ...]:
    """Return what products are worth: single precision if its rounding is bounded, then double."""
    exact = torch.get_float32_matmul_precision() == "highest" and width < 2**16
    return (torch.float32, torch.float64) if exact else (torch.float64,)


def _no_numbers(points: Tensor, codes: Tensor) -> Tensor:
    return points.new_empty(len(points), dtype=torch.long)


# One call for a compiled graph, in which nothing could be read. By hand, as ``no_gradient`` says.
_library = torch.library.Library("hardgrad", "FRAGMENT")
_library.define("nearest_row(Tensor points, Tensor codes) -> Tensor")
_library.impl("nearest_row", _nearest_row, "CompositeExplicitAutograd")
torch.library.register_fake("hardgrad::nearest_row", _no_numbers, lib=_library)


def _gaps(points: Tensor, few: Tensor) -> Tensor:
    """(..., n, d) and (..., k, d) to (..., n, k)."""
    if exporting():  # ONNX has no cdist
        return (points.unsqueeze(-2) - few.unsqueeze(-3)).square().sum(-1)
    return distance(points, few)


def _step(points: Tensor, centers: int) -> int:
    """How many centers are compared at a time."""
    if exporting():  # every step becomes nodes of the graph
        return max(8, -(-centers // 32))
    least = max(8, points.shape[-1])
    rows = points.shape[:-1].numel()
    return least if in_graph() else max(least, _AT_ONCE // max(1, rows))
