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


def nearest_center(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``nearest`` does; by ``nearest_row`` where that is faster."""
    points, centers = points.detach(), centers.detach()
    one = points.shape[-2:].numel() * centers.shape[-2]
    if in_graph() or not readable(points) or one < 16 * _AT_ONCE or not _precisions(points, centers):
        return nearest(points, centers)
    sets = zip(points.reshape(-1, *points.shape[-2:]), centers.reshape(-1, *centers.shape[-2:]), strict=True)
    index = torch.stack([nearest_row(*each) for each in sets]).view(points.shape[:-1])
    own = centers.gather(-2, index.unsqueeze(-1).expand(points.shape))
    gap = distance(points.unsqueeze(-2), own.unsqueeze(-2)).flatten(-3)
    return gap.nan_to_num(nan=torch.inf, posinf=torch.inf), index


def nearest_row(points: Tensor, codes: Tensor) -> Tensor:
    """Return the index of the nearest row of ``codes`` (k, d) for each of ``points`` (n, d): what ``nearest`` finds.

    In eager code on a CPU, and from a compiled graph, a matrix product leaves few codes for each row; see ``screen``.
    """
    points, codes = points.detach(), codes.detach()
    if exporting() or in_transform() or not in_graph():
        return _nearest_row(points, codes)
    return cast(Tensor, torch.ops.hardgrad.nearest_row(points, codes))


def _nearest_row(points: Tensor, codes: Tensor) -> Tensor:
    if not readable(points) or points.numel() * len(codes) < _AT_ONCE:
        return nearest(double(points), double(codes))[1]
    cells = min(2**22, max(4 * _AT_ONCE, points.numel() + codes.numel()))
    index = torch.full((len(points),), -1)
    with torch.autocast("cpu", enabled=False):
        for precision in (*_precisions(points, codes), None):
            left = (index < 0).nonzero().squeeze(-1)
            if len(left):
                some = points if len(left) == len(points) else points[left]
                index[left] = _found(some, codes, precision, cells)
    return index


def _found(points: Tensor, codes: Tensor, precision: torch.dtype | None, cells: int) -> Tensor:
    if precision is None:
        return nearest(double(points), double(codes))[1]
    dtype = torch.promote_types(torch.promote_types(points.dtype, codes.dtype), torch.float32)
    return Screen(codes, precision, dtype).nearest(points, cells)


def _precisions(points: Tensor, codes: Tensor) -> tuple[torch.dtype, ...]:
    """Return what products are worth it: in single precision if its rounding is bounded, then double; none of few."""
    if codes.shape[-2] <= 16 or codes.shape[-2:].numel() < 512:
        return ()
    exact = torch.get_float32_matmul_precision() == "highest" and points.shape[-1] < 2**16
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
