"""Functions that replace a vector by the nearest of a few. They compute in double precision and round once."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.hard import checks
from hardgrad.hard.distances import nearest_center, nearest_row
from hardgrad.hard.precision import back, double, middling


def nearest_code(x: Tensor, codebook: Tensor) -> Tensor:
    r"""Return the row of ``codebook`` nearest to each vector; the first of equals.

    .. math:: y = c_k, \quad k = \arg\min_j \lVert x - c_j \rVert

    Distances are those of the numbers as they are, in double precision, and codes are equally near where these are
    equal. Memory grows with x and the codebook, never with their product (in an exported graph, with 1/32 of that).

    Args:
        x: shape (..., d). A vector with an infinite entry is infinitely far from every code and takes the first.
        codebook: shape (codes, d), at least one. A code that holds NaN is never the nearest.

    Returns:
        A tensor of x's shape and dtype; NaN for a vector that holds NaN.

    Raises:
        ValueError: if the codebook has no codes, another width, or lies on another device.
        TypeError: if x or ``codebook`` is not a floating tensor.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.nearest_code(torch.tensor([[0.2], [0.9]]), torch.tensor([[0.0], [1.0]])).tolist()
        [[0.0], [1.0]]

    Source: van den Oord, Vinyals and Kavukcuoglu 2017 (arXiv 1711.00937), equation 1.
    """
    index = _index("nearest_code", x, codebook)
    if x.shape[-1] == 0:
        return x.clone()
    y = codebook.to(x.dtype)[index]
    return y.masked_fill(x.isnan().any(-1, keepdim=True), torch.nan)


def nearest_index(x: Tensor, codebook: Tensor) -> Tensor:
    """Return which row of ``codebook`` is the nearest to each vector: that of ``nearest_code``.

    Args:
        x: shape (..., d). A vector with an infinite entry takes the first code.
        codebook: shape (codes, d), at least one.

    Returns:
        A tensor of integers (torch.long) of shape (...), from 0 to codes - 1; -1 for a vector that holds NaN.

    Raises:
        ValueError: if the codebook has no codes, another width, or lies on another device.
        TypeError: if x or ``codebook`` is not a floating tensor.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.nearest_index(torch.tensor([[0.2], [0.9]]), torch.tensor([[0.0], [1.0]])).tolist()
        [0, 1]
    """
    return _index("nearest_index", x, codebook).masked_fill(x.isnan().any(-1), -1)


def _index(function: str, x: Tensor, codebook: Tensor) -> Tensor:
    _check_codebook(function, x, codebook)
    if x.shape[-1] == 0:
        return torch.zeros(x.shape[:-1], dtype=torch.long, device=x.device)
    points, codes = x.detach().reshape(-1, x.shape[-1]), codebook.detach()
    if torch.float64 in (x.dtype, codebook.dtype):  # squares of half the range stay within it by themselves
        points, codes = double(points), double(codes)
        scale = middling(torch.where(codes.isfinite(), codes, 0), (0, 1))
        points, codes = points * scale, codes * scale
    return nearest_row(points, codes).reshape(x.shape[:-1])


def _check_codebook(function: str, x: Tensor, codebook: Tensor) -> None:
    checks.floating(function, x)
    checks.floating(function, codebook, "codebook")
    checks.dimensions(function, x, 1, "(..., features)")
    if codebook.ndim != 2 or x.shape[-1] != codebook.shape[-1]:
        raise ValueError(
            f"{function}: codebook must have shape (codes, {x.shape[-1]}) for x of shape {tuple(x.shape)}, "
            f"got {tuple(codebook.shape)}"
        )
    if codebook.shape[0] == 0:
        raise ValueError(f"{function}: codebook must have at least one row, got shape {tuple(codebook.shape)}")
    checks.same_device(function, x, codebook, "codebook")


def kmeans(x: Tensor, k: int = 10, *, iterations: int = 10) -> Tensor:
    """Return each point replaced by the center of its cluster, after Lloyd's algorithm.

    Nothing is drawn at random: the first center is the point farthest from the mean, each next one the point farthest
    from those chosen, so the same input gives the same output. A cluster that runs empty restarts at the point farthest
    from its own center. The order of the points does not matter: between points equally far, their values decide, and
    sums are taken in an order that the values give.

    Args:
        x: shape (..., n, d): n points of d features, clustered apart for every leading index. A feature map
            (B, C, H, W) is ``x.flatten(2).mT``.
        k: clusters, from 1 to n; the paper uses 10.
        iterations: rounds of Lloyd's algorithm, at least 1.

    Returns:
        A tensor of x's shape and dtype with at most k different rows; a point as far from two centers takes the one
        that was chosen first. NaN where not all n points are finite.

    Raises:
        ValueError: if x has no point dimension, or ``k`` or ``iterations`` is out of range.
        TypeError: if x is not a floating tensor, or ``k`` or ``iterations`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.kmeans(torch.tensor([[0.0], [1.0], [9.0], [11.0]]), k=2).tolist()
        [[0.5], [0.5], [10.0], [10.0]]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table VI, k = 10. Its text does not say what the layer returns;
    the quantized feature map is our reading.
    """
    k = _checked_clusters(x, k, iterations)
    if x.shape[-1] == 0:
        return x.clone()
    points = double(x)
    scale = middling(points, (-2, -1))
    points = points * scale
    inner = _in_order_of_values(points)
    centers = _farthest_first(inner, k)
    for _ in range(iterations):
        centers = _lloyd(inner, centers)
    y = _rows(centers, nearest_center(points, centers)[1]) / scale
    finite = points.detach().sum((-2, -1), keepdim=True).isfinite()
    return back(torch.where(finite, y, torch.nan), x.dtype)


def _checked_clusters(x: Tensor, k: int, iterations: int) -> int:
    checks.floating("kmeans", x)
    if x.ndim < 2:
        raise ValueError(f"kmeans: x must have shape (..., points, features), got {tuple(x.shape)}")
    k, iterations = _check.whole("kmeans", "k", k), _check.whole("kmeans", "iterations", iterations)
    if not 1 <= k <= x.shape[-2]:
        raise ValueError(f"kmeans: k must be from 1 to {x.shape[-2]}, the number of points, got {k}")
    if iterations < 1:
        raise ValueError(f"kmeans: iterations must be at least 1, got {iterations}")
    return k


def _in_order_of_values(points: Tensor) -> Tensor:
    """Return the points sorted by a number that different points do not share, but for a freak of rounding.

    Sorted one feature after the other they would take as many sorts as there are features.
    """
    direction = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype, device=points.device)
    key = (points.detach() * (1.5 + direction.square().sin())).sum(-1)
    return _rows(points, key.argsort(-1))


def _rows(matrix: Tensor, index: Tensor) -> Tensor:
    """(..., k, d) at (..., n) to (..., n, d)."""
    return matrix.gather(-2, index.unsqueeze(-1).expand(*index.shape, matrix.shape[-1]))


def _farthest_first(points: Tensor, k: int) -> Tensor:
    fixed = points.detach()
    gap = (fixed - fixed.mean(-2, keepdim=True)).square().sum(-1)
    chosen = [_rows(points, gap.argmax(-1, keepdim=True))]
    gap = torch.full_like(gap, torch.inf)
    for _ in range(k - 1):
        gap = torch.minimum(gap, (fixed - chosen[-1].detach()).square().sum(-1))
        chosen.append(_rows(points, gap.argmax(-1, keepdim=True)))
    return torch.cat(chosen, -2)


def _lloyd(points: Tensor, centers: Tensor) -> Tensor:
    k = centers.shape[-2]
    gap, index = nearest_center(points, centers)
    count = torch.zeros_like(centers[..., 0]).scatter_add(-1, index, torch.ones_like(gap)).unsqueeze(-1)
    # From the old center, so that equal points have themselves as their mean.
    moves = points - _rows(centers, index)
    total = torch.zeros_like(centers).scatter_add(-2, index.unsqueeze(-1).expand_as(points), moves)
    mean = centers + total / count.clamp(min=1)
    # The j-th empty cluster takes the j-th farthest point.
    empty = count == 0
    turn = (empty.squeeze(-1).cumsum(-1) - 1).clamp(min=0)
    far = gap.topk(k, -1).indices.gather(-1, turn)
    return torch.where(empty, _rows(points, far), mean)
