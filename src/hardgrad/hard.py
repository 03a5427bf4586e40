"""Hard functions: plain callables ``Tensor -> Tensor`` whose gradient is zero, missing or meaningless.

All take any leading shape and every floating dtype, and return the dtype they got. Functions of one element keep NaN
visible: a NaN in is a NaN out, never a silent 0 or 1. Functions that order their input take NaN as the largest value,
as ``torch.sort`` does. Distances and sampling noise are computed in single precision at least.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sign(x: Tensor, margin: float = 0.0) -> Tensor:
    r"""Return -1, 0 or 1: the sign outside a dead zone around zero.

    .. math:: y_i = -1 \text{ if } x_i < -\epsilon, \quad 1 \text{ if } x_i > \epsilon, \quad 0 \text{ otherwise}

    Args:
        x: any shape.
        margin: epsilon, half the width of the dead zone, at least 0.

    Returns:
        A tensor of x's shape.

    Raises:
        ValueError: if ``margin`` is negative.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sign(torch.tensor([-0.7, -0.5, 0.1, 0.6]), margin=0.5).tolist()
        [-1.0, 0.0, 0.0, 1.0]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), equation 1.
    """
    if not margin >= 0:
        raise ValueError(f"sign: margin must be at least 0, got {margin}; it is half the width of the dead zone")
    if margin == 0:
        return _keep_nan(x.sign(), x)
    # What is left outside the dead zone is greater than the margin, so the quotient reaches 1; NaN passes all three.
    return F.hardshrink(x, margin).div_(margin).clamp(-1.0, 1.0)


def step(x: Tensor, threshold: float = 0.0) -> Tensor:
    r"""Return 1 where ``x`` is at least ``threshold``, else 0.

    Args:
        x: any shape.
        threshold: where the step is; the value there is 1.

    Returns:
        A tensor of x's shape.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.step(torch.tensor([-0.1, 0.0, 0.2])).tolist()
        [0.0, 1.0, 1.0]

    Source: the binary threshold of Ramapuram and Webb 2020 (arXiv 1905.03658), section I.
    """
    return _keep_nan((x >= threshold).to(x.dtype), x)


def binarize(x: Tensor, dim: int = -1) -> Tensor:
    r"""Return 1 where ``x`` is at least its mean, else 0.

    .. math:: y_i = 1 \text{ if } x_i \ge \tfrac1n \sum_j x_j, \quad 0 \text{ otherwise}

    Args:
        x: shape (..., n).
        dim: the dimension that the mean is taken over.

    Returns:
        A tensor of x's shape; all NaN where the mean is.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.binarize(torch.tensor([[1.0, 2.0, 6.0]])).tolist()
        [[0.0, 0.0, 1.0]]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table III, dab-binary.
    """
    centred = x - x.mean(dim, keepdim=True)
    return _keep_nan((centred >= 0).to(x.dtype), centred)


def round(x: Tensor) -> Tensor:
    """Return the nearest integer, halves to the even one, as ``torch.round`` does.

    Args:
        x: any shape.

    Returns:
        A tensor of x's shape.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.round(torch.tensor([0.5, 1.2, 1.5])).tolist()
        [0.0, 1.0, 2.0]
    """
    return torch.round(x)


def quantize(x: Tensor, levels: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    r"""Return the nearest of ``levels`` evenly spaced values from ``low`` to ``high``.

    .. math:: y = \text{low} + \Delta \,\text{round}\!\left(\frac{\text{clip}(x) - \text{low}}{\Delta}\right), \qquad
        \Delta = \frac{\text{high} - \text{low}}{\text{levels} - 1}

    Args:
        x: any shape.
        levels: how many values, at least 2; ``2 ** bits`` for a quantiser of so many bits.
        low: the lowest value; what lies below is clipped to it.
        high: the highest value.

    Returns:
        A tensor of x's shape.

    Raises:
        ValueError: if there are fewer than 2 levels, or ``low`` is not below ``high``.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.quantize(torch.tensor([-3.0, 0.2, 0.3, 0.9]), levels=3).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    if levels < 2:
        raise ValueError(
            f"quantize: levels must be at least 2, got {levels}; 2 ** bits for a quantiser of so many bits"
        )
    if not low < high:
        raise ValueError(f"quantize: low must be below high, got low={low} and high={high}; swap them")
    index = torch.round((x.clamp(low, high) - low) * ((levels - 1) / (high - low)))
    return low + index * (high - low) / (levels - 1)


def one_hot_argmax(x: Tensor, dim: int = -1) -> Tensor:
    """Return a one-hot vector at the largest entry along ``dim``; the first of equals.

    Args:
        x: shape (..., n).
        dim: the dimension to search.

    Returns:
        A tensor of x's shape.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.one_hot_argmax(torch.tensor([0.1, 2.0, -1.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    index = x.argmax(dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, index, torch.ones_like(index, dtype=x.dtype))


def top_k(x: Tensor, k: int, dim: int = -1) -> Tensor:
    """Return the ``k`` largest values along ``dim``, largest first.

    The paper's top-k is taken of sorted rows and columns: ``top_k(sort_rows_cols(x).flatten(-2), k)``.

    Args:
        x: shape (..., n).
        k: how many, from 1 to n.
        dim: the dimension to search.

    Returns:
        Shape (..., k).

    Raises:
        ValueError: if ``k`` is out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.top_k(torch.tensor([3.0, 1.0, 2.0]), k=2).tolist()
        [3.0, 2.0]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table VI.
    """
    if not 1 <= k <= x.shape[dim]:
        raise ValueError(f"top_k: k must be from 1 to {x.shape[dim]}, the size of dim {dim}, got {k}")
    return x.topk(k, dim).values


def sort(x: Tensor, dim: int = -1) -> Tensor:
    """Return the values along ``dim`` in ascending order.

    Args:
        x: shape (..., n).
        dim: the dimension to sort.

    Returns:
        A tensor of x's shape.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sort(torch.tensor([3.0, 1.0, 2.0])).tolist()
        [1.0, 2.0, 3.0]
    """
    return x.sort(dim).values


def rank(x: Tensor, dim: int = -1) -> Tensor:
    """Return the position that each value takes in ascending order, from 0; equals in the order they stand.

    Args:
        x: shape (..., n). In bf16 ranks above 256, in fp16 above 2048, are rounded.
        dim: the dimension to rank along.

    Returns:
        A tensor of x's shape.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.rank(torch.tensor([0.6, 0.2, 0.9])).tolist()
        [1.0, 0.0, 2.0]
    """
    return _order(x, dim).argsort(dim).to(x.dtype)


def permutation(x: Tensor) -> Tensor:
    r"""Return the permutation matrix that sorts the last dimension.

    .. math:: P_{ij} = 1 \text{ if } x_j \text{ is the } i\text{-th smallest}, \qquad P x = \text{sort}(x)

    Args:
        x: shape (..., n).

    Returns:
        Shape (..., n, n), one 1 in every row and column.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([0.6, 0.2, 0.9])
        >>> (hg.hard.permutation(x) @ x).tolist() == hg.hard.sort(x).tolist()
        True

    Source: the target of Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-A.
    """
    order = _order(x, -1)
    return (order.unsqueeze(-1) == torch.arange(x.shape[-1], device=x.device)).to(x.dtype)


def sort_rows_cols(x: Tensor) -> Tensor:
    r"""Return a matrix with its rows sorted, and under it the matrix with its columns sorted.

    .. math:: \text{sort-row}(x) \oplus \text{sort-col}(x)

    Args:
        x: shape (..., height, width), a feature map.

    Returns:
        Shape (..., 2 height, width).

    Raises:
        ValueError: if x has fewer than two dimensions.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sort_rows_cols(torch.tensor([[4.0, 1.0], [2.0, 3.0]])).tolist()
        [[1.0, 4.0], [2.0, 3.0], [2.0, 1.0], [4.0, 3.0]]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table VI; there the sum sign is a concatenation.
    """
    if x.ndim < 2:
        raise ValueError(f"sort_rows_cols: x must have at least two dimensions, got shape {tuple(x.shape)}; use sort")
    return torch.cat([x.sort(-1).values, x.sort(-2).values], dim=-2)


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


def bernoulli(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return 1 with probability ``p``, else 0, independently.

    Args:
        p: probabilities in [0, 1], any shape.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of p's shape; NaN where p is.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.bernoulli(torch.tensor([0.0, 1.0])).tolist()
        [0.0, 1.0]

    Source: the non-reparameterised Bernoulli of Ramapuram and Webb 2020 (arXiv 1905.03658), table III.
    """
    # A uniform of single precision whatever the dtype: one of half precision rounds to 1 or repeats itself.
    return _keep_nan((_uniform(p, p.shape, generator) < p).to(p.dtype), p)


def categorical(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return a one-hot sample of each distribution along the last dimension.

    Args:
        p: shape (..., n), non-negative weights that need not sum to one.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of p's shape. A class of weight zero is never drawn.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.categorical(torch.tensor([0.0, 2.0, 0.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    cumulated = p.to(torch.promote_types(p.dtype, torch.float32)).cumsum(-1)
    total = cumulated[..., -1:]
    # The product may round up to the total, past the last class that has weight.
    below = total * (1 - torch.finfo(total.dtype).eps)
    u = torch.minimum(_uniform(p, (*p.shape[:-1], 1), generator) * total, below)
    index = (cumulated <= u).sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, index, torch.ones_like(index, dtype=p.dtype))


def _keep_nan(y: Tensor, x: Tensor) -> Tensor:
    return torch.where(x.isnan(), x, y)


def _order(x: Tensor, dim: int) -> Tensor:
    """Indices of ascending order, equals in the order they stand."""
    # ONNX has no stable sort, but the operator that an ordinary one becomes breaks ties by position.
    return x.argsort(dim) if torch.onnx.is_in_onnx_export() else x.argsort(dim=dim, stable=True)


def _uniform(like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    if generator is None:  # ONNX knows only the form without the argument
        return torch.rand(shape, dtype=dtype, device=like.device)
    return torch.rand(shape, generator=generator, dtype=dtype, device=like.device)


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
