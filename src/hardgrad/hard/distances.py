"""Which of a few vectors is nearest to each of many, in memory that grows with the vectors and not with their product.

Distances are taken in double precision, from differences: expanding the square loses those of close vectors far from
zero. Where they are equal there, the first of the few counts as the nearest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad._torch_state import exporting, in_graph, readable

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

    A matrix product leaves one code for all but a few rows, six times as fast; the few are asked again.
    """
    if not readable(points) or points.numel() * len(codes) < _AT_ONCE:
        return nearest(points, codes)[1]
    norms = codes.square().sum(-1)
    chunks = points.split(max(1, 4 * _AT_ONCE // len(codes)))
    return torch.cat([_by_product(rows, codes, norms) for rows in chunks])


def _by_product(rows: Tensor, codes: Tensor, norms: Tensor) -> Tensor:
    score = torch.addmm(norms, rows, codes.mT, alpha=-2)  # the squared distance, less the row's own square
    best, index = score.min(-1, keepdim=True)
    second = score.scatter_(-1, index, torch.inf).amin(-1)
    # Four times what rounding can change in a score or in a distance, both of d + 3 operations.
    doubt = 4 * (rows.shape[-1] + 4) * torch.finfo(rows.dtype).eps * (rows.norm(dim=-1) + norms.amax().sqrt()).square()
    index = index.squeeze(-1)
    unsure = (~(second > best.squeeze(-1) + doubt)).nonzero().squeeze(-1)  # NaN is unsure
    if len(unsure):
        index[unsure] = nearest(rows[unsure], codes)[1]
    return index


def _gaps(points: Tensor, few: Tensor) -> Tensor:
    """(..., n, d) and (..., k, d) to (..., n, k)."""
    if exporting():  # ONNX has no cdist
        return (points.unsqueeze(-2) - few.unsqueeze(-3)).square().sum(-1)
    return torch.cdist(points, few, compute_mode="donot_use_mm_for_euclid_dist")


def _step(points: Tensor, centers: int) -> int:
    """How many centers are compared at a time."""
    if exporting():  # every step becomes nodes of the graph
        return max(8, -(-centers // 32))
    least = max(8, points.shape[-1])
    rows = points.shape[:-1].numel()
    return least if in_graph() else max(least, _AT_ONCE // max(1, rows))
