"""Functions of the order of their input: exact in every dtype, for they compare and copy alone.

NaN counts as the largest value, as for ``torch.sort``. A tensor without dimensions counts as a vector of one entry.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.hard import checks


def one_hot_argmax(x: Tensor, dim: int = -1) -> Tensor:
    """Return a one-hot vector at the largest entry along ``dim``; the first of equals.

    Args:
        x: shape (..., n).
        dim: the dimension to search.

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError: if x has no dimension ``dim``.
        TypeError: if x is not a floating tensor or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.one_hot_argmax(torch.tensor([0.1, 2.0, -1.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    checks.floating("one_hot_argmax", x)
    if checks.size("one_hot_argmax", x, dim) == 0:
        return x.clone()
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
        Shape (..., k), x's dtype.

    Raises:
        ValueError: if ``k`` is out of range or x has no dimension ``dim``.
        TypeError: if x is not a floating tensor, or ``k`` or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.top_k(torch.tensor([3.0, 1.0, 2.0]), k=2).tolist()
        [3.0, 2.0]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table VI.
    """
    checks.floating("top_k", x)
    k, entries = _check.whole("top_k", "k", k), checks.size("top_k", x, dim)
    if not 1 <= k <= entries:
        raise ValueError(f"top_k: k must be from 1 to {entries}, the size of dim {dim}, got {k}")
    return x.topk(k, dim).values


def top_k_mask(x: Tensor, k: int, dim: int = -1) -> Tensor:
    """Return 1 at the ``k`` largest entries along ``dim``, else 0; of equals, the first count as the larger.

    Args:
        x: shape (..., n).
        k: how many, from 0 to n.
        dim: the dimension to search.

    Returns:
        A tensor of x's shape and dtype whose sum along ``dim`` is k.

    Raises:
        ValueError: if ``k`` is out of range or x has no dimension ``dim``.
        TypeError: if x is not a floating tensor, or ``k`` or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.top_k_mask(torch.tensor([3.0, 1.0, 2.0]), k=2).tolist()
        [1.0, 0.0, 1.0]
    """
    checks.floating("top_k_mask", x)
    k, entries = _check.whole("top_k_mask", "k", k), checks.size("top_k_mask", x, dim)
    if not 0 <= k <= entries:
        raise ValueError(f"top_k_mask: k must be from 0 to {entries}, the size of dim {dim}, got {k}")
    if x.ndim == 0:
        return torch.full_like(x, k)
    index = _order(x, dim, descending=True).narrow(dim, 0, k)
    return torch.zeros_like(x).scatter(dim, index, torch.ones_like(index, dtype=x.dtype))


def sort(x: Tensor, dim: int = -1) -> Tensor:
    """Return the values along ``dim`` in ascending order.

    Args:
        x: shape (..., n).
        dim: the dimension to sort.

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError: if x has no dimension ``dim``.
        TypeError: if x is not a floating tensor or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sort(torch.tensor([3.0, 1.0, 2.0])).tolist()
        [1.0, 2.0, 3.0]
    """
    checks.floating("sort", x)
    checks.size("sort", x, dim)
    return x.sort(dim).values


def rank(x: Tensor, dim: int = -1) -> Tensor:
    """Return the position that each value takes in ascending order, from 0; equals in the order they stand.

    Args:
        x: shape (..., n). In bf16 ranks above 256, in fp16 above 2048, are rounded, and in fp16 those from 65,520 on
            are infinite; ``rank(x.float())`` keeps them apart.
        dim: the dimension to rank along.

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError: if x has no dimension ``dim``.
        TypeError: if x is not a floating tensor or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.rank(torch.tensor([0.6, 0.2, 0.9])).tolist()
        [1.0, 0.0, 2.0]
    """
    checks.floating("rank", x)
    checks.size("rank", x, dim)
    return _order(x, dim).argsort(dim).to(x.dtype)


def permutation(x: Tensor) -> Tensor:
    r"""Return the permutation matrix that sorts the last dimension.

    .. math:: P_{ij} = 1 \text{ if } x_j \text{ is the } i\text{-th smallest}, \qquad P x = \text{sort}(x)

    Args:
        x: shape (..., n).

    Returns:
        Shape (..., n, n), x's dtype, one 1 in every row and column; of equals, the first stands first.

    Raises:
        ValueError: if x has no dimension.
        TypeError: if x is not a floating tensor.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([0.6, 0.2, 0.9])
        >>> (hg.hard.permutation(x) @ x).tolist() == hg.hard.sort(x).tolist()
        True

    Source: the target of Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-A.
    """
    checks.floating("permutation", x)
    checks.dimensions("permutation", x, 1, "(..., entries)")
    order = _order(x, -1)
    return (order.unsqueeze(-1) == torch.arange(x.shape[-1], device=x.device)).to(x.dtype)


def sort_rows_cols(x: Tensor) -> Tensor:
    r"""Return a matrix with its rows sorted, and under it the matrix with its columns sorted.

    .. math:: \text{sort-row}(x) \oplus \text{sort-col}(x)

    Args:
        x: shape (..., height, width), a feature map.

    Returns:
        Shape (..., 2 height, width), x's dtype.

    Raises:
        ValueError: if x has fewer than two dimensions.
        TypeError: if x is not a floating tensor.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sort_rows_cols(torch.tensor([[4.0, 1.0], [2.0, 3.0]])).tolist()
        [[1.0, 4.0], [2.0, 3.0], [2.0, 1.0], [4.0, 3.0]]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table VI; there the sum sign is a concatenation.
    """
    checks.floating("sort_rows_cols", x)
    if x.ndim < 2:
        raise ValueError(f"sort_rows_cols: x must have at least two dimensions, got shape {tuple(x.shape)}; use sort")
    return torch.cat([x.sort(-1).values, x.sort(-2).values], dim=-2)


def _order(x: Tensor, dim: int, descending: bool = False) -> Tensor:
    """Indices of ascending or descending order, equals in the order they stand."""
    # ONNX has no stable sort, but the operator that an ordinary one becomes breaks ties by position.
    if torch.onnx.is_in_onnx_export():
        return x.argsort(dim, descending)
    return x.argsort(dim=dim, descending=descending, stable=True)
