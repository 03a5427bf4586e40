"""Functions that replace a vector by the nearest of a few."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_code(x: Tensor, codebook: Tensor) -> Tensor:
    r"""Return the row of ``codebook`` nearest to each vector; the first of equals.

    .. math:: y = c_k, \quad k = \arg\min_j \lVert x - c_j \rVert

    Args:
        x: shape (..., d).
        codebook: shape (codes, d).

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError: if the widths differ.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.nearest_code(torch.tensor([[0.2], [0.9]]), torch.tensor([[0.0], [1.0]])).tolist()
        [[0.0], [1.0]]

    Source: van den Oord, Vinyals and Kavukcuoglu 2017 (arXiv 1711.00937), equation 1.
    """
    if codebook.ndim != 2 or x.shape[-1] != codebook.shape[-1]:
        raise ValueError(
            f"nearest_code: codebook must have shape (codes, {x.shape[-1]}) for x of shape {tuple(x.shape)}, "
            f"got {tuple(codebook.shape)}"
        )
    index = _squared_distances(x, codebook).argmin(-1)
    return codebook.to(x.dtype)[index]


def kmeans(x: Tensor, k: int = 10, *, iterations: int = 10) -> Tensor:
    """Return each point replaced by the centre of its cluster, after Lloyd's algorithm.

    Nothing is drawn at random: the first centre is the point farthest from the mean, each next one the point farthest
    from those chosen, so the same input gives the same output and the order of the points does not matter. A cluster
    that runs empty restarts at the point farthest from its own centre.

    Args:
        x: shape (..., n, d): n points of d features, clustered apart for every leading index. A feature map
            (B, C, H, W) is ``x.flatten(2).mT``.
        k: clusters, from 1 to n; the paper uses 10.
        iterations: rounds of Lloyd's algorithm, at least 1.

    Returns:
        A tensor of x's shape with at most k different rows.

    Raises:
        ValueError: if x has no point dimension, or ``k`` or ``iterations`` is out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.kmeans(torch.tensor([[0.0], [1.0], [9.0], [11.0]]), k=2).tolist()
        [[0.5], [0.5], [10.0], [10.0]]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table VI, k = 10. Its text does not say what the layer returns;
    the quantised feature map is our reading.
    """
    if x.ndim < 2:
        raise ValueError(f"kmeans: x must have shape (..., points, features), got {tuple(x.shape)}")
    if not 1 <= k <= x.shape[-2]:
        raise ValueError(f"kmeans: k must be from 1 to {x.shape[-2]}, the number of points, got {k}")
    if iterations < 1:
        raise ValueError(f"kmeans: iterations must be at least 1, got {iterations}")
    points = x.to(torch.promote_types(x.dtype, torch.float32))
    centres = _farthest_first(points, k)
    for _ in range(iterations):
        centres = _lloyd(points, centres)
    return _rows(centres, _squared_distances(points, centres).argmin(-1)).to(x.dtype)


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """(..., n, d) and (..., k, d) to (..., n, k); from differences, since expanding the square loses small ones."""
    wide = torch.promote_types(points.dtype, torch.float32)
    return (points.unsqueeze(-2).to(wide) - centres.unsqueeze(-3).to(wide)).square().sum(-1)


def _rows(matrix: Tensor, index: Tensor) -> Tensor:
    """(..., k, d) at (..., n) to (..., n, d)."""
    return matrix.gather(-2, index.unsqueeze(-1).expand(*index.shape, matrix.shape[-1]))


def _farthest_first(points: Tensor, k: int) -> Tensor:
    gap = (points - points.mean(-2, keepdim=True)).square().sum(-1)
    chosen = [_rows(points, gap.argmax(-1, keepdim=True))]
    gap = torch.full_like(gap, torch.inf)
    for _ in range(k - 1):
        gap = torch.minimum(gap, (points - chosen[-1]).square().sum(-1))
        chosen.append(_rows(points, gap.argmax(-1, keepdim=True)))
    return torch.cat(chosen, -2)


def _lloyd(points: Tensor, centres: Tensor) -> Tensor:
    k = centres.shape[-2]
    gap, index = _squared_distances(points, centres).min(-1)
    member = (index.unsqueeze(-1) == torch.arange(k, device=points.device)).to(points.dtype)  # (..., n, k)
    count = member.sum(-2).unsqueeze(-1)
    empty = count == 0
    # A sum of products, not a matmul: autocast would round that to half precision.
    mean = (member.unsqueeze(-1) * points.unsqueeze(-2)).sum(-3) / count.clamp(min=1)
    # The j-th empty cluster takes the j-th farthest point.
    turn = (empty.squeeze(-1).cumsum(-1) - 1).clamp(min=0)
    far = gap.topk(k, -1).indices.gather(-1, turn)
    return torch.where(empty, _rows(points, far), mean)
