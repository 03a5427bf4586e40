"""The soft operators: each has a slope everywhere, and is the hard function of its name at temperature 0."""

from __future__ import annotations

from torch import Tensor

from hardgrad import _check, hard
from hardgrad.hard import checks
from hardgrad.soft.method import Method
from hardgrad.soft.rows import Asked
from hardgrad.soft.temperature import Temperature


def sort(
    x: Tensor,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    """Return the values along ``dim`` in ascending order, each mixed with its neighbors in that order.

    Args:
        x: shape (..., n); float64, float32, bfloat16 or float16.
        temperature: how far values mix, at least 0: 0 is the hard function, and far above n gives the mean everywhere.
            A number, or a tensor that broadcasts with x of size 1 along ``dim``, and may learn.
        dim: the dimension to order.
        descending: turn the order round.
        method: an instance, or the name of one with its defaults: ``laplace``, ``softsort``, ``neuralsort``,
            ``permutahedron`` or ``network``.
        relative: count the temperature in mean gaps between neighbors, so that one number serves rows of any length,
            scale and offset: the gap of n evenly spaced values of the row's standard deviation, which is that times
            sqrt(12 / (n^2 - 1)), or 1 where all are equal. The gradient knows that the gap depends on x, so what does
            not change with x's scale has no slope along it; for the ranks and masks of two values that is all there is:
            they are always one gap apart, and ``relative=False`` gives them a slope.

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError: if a value is out of its range, or a shape does not fit.
        TypeError: if an argument is of the wrong kind.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([3.0, 1.0, 2.0])
        >>> hg.soft.sort(x, 0.0).tolist()
        [1.0, 2.0, 3.0]
        >>> [round(y, 2) for y in hg.soft.sort(x, 0.5).tolist()]
        [1.22, 2.0, 2.78]
    """
    asked = Asked("sort", x, temperature, dim, descending, method, relative)
    return asked.values(0, asked.size, turned=descending)


def rank(
    x: Tensor,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    r"""Return the position of each value along ``dim`` in ascending order, from 0; equals share the mean of theirs.

    .. math:: r_j = \sum_{i \ne j} F\Big(\frac{x_j - x_i}{t}\Big) \quad \text{(laplace)}

    At temperature 0 equals are ranked in the order they stand, as by ``hg.hard.rank``, and nothing has a gradient.

    Args:
        x: shape (..., n).
        temperature, dim, descending, method, relative: as for ``sort``.

    Returns:
        A tensor of x's shape and dtype; in ``laplace`` of sum n (n - 1) / 2.

    Raises:
        ValueError, TypeError: as ``sort`` does.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(hg.hard.rank, soft=lambda x: hg.soft.rank(x, temperature=1.0))
        >>> layer(torch.tensor([0.6, 0.2, 0.9])).tolist()
        [1.0, 0.0, 2.0]
    """
    return Asked("rank", x, temperature, dim, descending, method, relative).places(
        lambda by, x, t: by.rank(x, t), hard.rank
    )


def top_k(
    x: Tensor,
    k: int,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    """Return the first ``k`` values along ``dim`` of a soft sort from the largest down.

    Args:
        x: shape (..., n).
        k: how many, from 1 to n.
        temperature, dim, method, relative: as for ``sort``.
        descending: return the k smallest instead, the smallest first.

    Returns:
        Shape (..., k), x's dtype.

    Raises:
        ValueError, TypeError: as ``sort`` does, and for a ``k`` out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.soft.top_k(torch.tensor([3.0, 1.0, 2.0]), k=2, temperature=0.0).tolist()
        [3.0, 2.0]
    """
    asked = Asked("top_k", x, temperature, dim, descending, method, relative)
    count = _k(asked, k, least=1)
    start = 0 if descending else asked.size - count
    return asked.values(start, start + count, turned=not descending)


def top_k_mask(
    x: Tensor,
    k: int,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    r"""Return how much each value is among the ``k`` largest along ``dim``: from 0 to 1, of sum k.

    .. math:: m_j = F\Big(\frac{x_j - b}{t}\Big), \qquad \sum_j m_j = k \quad \text{(laplace)}

    At temperature 0 the first of equals counts as the largest, as by ``hg.hard.top_k_mask``, and nothing has a
    gradient; above it equals share.

    Args:
        x: shape (..., n).
        k: how many, from 0 to n.
        temperature, dim, method, relative: as for ``sort``.
        descending: the k smallest instead.

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError, TypeError: as ``sort`` does, and for a ``k`` out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> [round(m, 2) for m in hg.soft.top_k_mask(torch.tensor([3.0, 1.0, 2.0]), k=2, temperature=0.5).tolist()]
        [0.98, 0.2, 0.83]
    """
    asked = Asked("top_k_mask", x, temperature, dim, descending, method, relative)
    count = _k(asked, k, least=0)
    return asked.places(lambda by, x, t: _mask(by, x, count, t), lambda x: hard.top_k_mask(x, count))


def permutation(
    x: Tensor,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    r"""Return the soft permutation matrix that sorts ``dim``: row i says where the i-th smallest comes from.

    .. math:: P x = \text{sort}(x)

    Args:
        x: shape (..., n), at least one dimension.
        temperature, dim, descending, method, relative: as for ``sort``.

    Returns:
        Shape (..., n, n), x's dtype: the two dimensions of the matrix are the last, wherever ``dim`` was. Every row has
        the sum 1, and in ``laplace`` every column.

    Raises:
        ValueError, TypeError: as ``sort`` does.
        NotImplementedError: if the method has no such matrix.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([0.6, 0.2, 0.9])
        >>> torch.allclose(hg.soft.permutation(x, 1.0) @ x, hg.soft.sort(x, 1.0))
        True
    """
    checks.floating("permutation", x)
    checks.dimensions("permutation", x, 1, "(..., entries)")

    def matrix(by: Method, x: Tensor, t: Tensor) -> Tensor:
        # Of x, not of -x, which enters a network in another order: P x is the soft sort, whichever way it goes.
        return by.permutation(-x, t).flip(-2) if descending else by.permutation(x, t)

    asked = Asked("permutation", x, temperature, dim, descending, method, relative)
    return asked.places(matrix, hard.permutation, square=True)


def quantile(
    x: Tensor,
    q: float,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    """Return the q-quantile along ``dim``: between two values of a soft sort, by linear interpolation.

    Args:
        x: shape (..., n), at least one entry along ``dim``.
        q: which quantile, from 0 (the smallest) to 1 (the largest).
        temperature, dim, method, relative: as for ``sort``.
        descending: count ``q`` from the largest.

    Returns:
        x's shape without ``dim``, x's dtype.

    Raises:
        ValueError, TypeError: as ``sort`` does, and for a ``q`` out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.soft.quantile(torch.tensor([3.0, 1.0, 2.0, 10.0]), q=0.5, temperature=0.0).item()
        2.5
    """
    q = _check.number("quantile", "q", q, least=0, most=1)
    return _quantile(Asked("quantile", x, temperature, dim, descending, method, relative), q)


def median(
    x: Tensor,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    """Return the median along ``dim``, the soft quantile of 0.5: of an even number, the mean of the middle two.

    Args:
        x: shape (..., n), at least one entry along ``dim``.
        temperature, dim, descending, method, relative: as for ``sort``.

    Returns:
        x's shape without ``dim``, x's dtype.

    Raises:
        ValueError, TypeError: as ``sort`` does.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.soft.median(torch.tensor([3.0, 1.0, 2.0]), temperature=0.0).item()
        2.0
    """
    return _quantile(Asked("median", x, temperature, dim, descending, method, relative), 0.5)


def argmax(
    x: Tensor,
    temperature: Temperature,
    *,
    dim: int = -1,
    descending: bool = False,
    method: Method | str = "laplace",
    relative: bool = True,
) -> Tensor:
    """Return a soft one-hot vector at the largest entry along ``dim``: the mask of the one largest.

    Args:
        x: shape (..., n).
        temperature, dim, method, relative: as for ``sort``.
        descending: at the smallest instead.

    Returns:
        A tensor of x's shape and dtype, of sum 1.

    Raises:
        ValueError, TypeError: as ``sort`` does.

    Example:
        >>> import torch, hardgrad as hg
        >>> [round(m, 2) for m in hg.soft.argmax(torch.tensor([0.1, 2.0, -1.0]), 0.5).tolist()]
        [0.13, 0.84, 0.03]
    """
    return Asked("argmax", x, temperature, dim, descending, method, relative).places(
        lambda by, x, t: _mask(by, x, 1, t), hard.one_hot_argmax
    )


def _mask(by: Method, x: Tensor, k: int, t: Tensor) -> Tensor:
    # Of none or of all there is nothing to choose, but a gradient of zeros all the same.
    return by.mask(x, k, t) if 0 < k < x.shape[-1] else 0 * x + min(k, 1)


def _k(asked: Asked, k: int, least: int) -> int:
    k = _check.whole(asked.owner, "k", k)
    if not least <= k <= asked.size:
        raise ValueError(f"{asked.owner}: k must be from {least} to {asked.size}, the size of dim {asked.dim}, got {k}")
    return k


def _quantile(asked: Asked, q: float) -> Tensor:
    if asked.size == 0:
        raise ValueError(
            f"{asked.owner}: x must have at least one entry along dim {asked.dim}, got shape {tuple(asked.x.shape)}"
        )
    place = q * (asked.size - 1)
    at, share = int(place), place - int(place)
    start, stop = at, at + 1 + (share > 0)
    if asked.descending:
        start, stop = asked.size - stop, asked.size - start

    def between(ordered: Tensor) -> Tensor:
        low = ordered[..., :1]
        return low if share == 0 else low * (1 - share) + ordered[..., 1:] * share

    def exact(x: Tensor) -> Tensor:
        return hard.quantile(x, 1 - q if asked.descending else q).unsqueeze(-1)

    found = asked.values(start, stop, turned=asked.descending, pick=between, exact=exact)
    return found.squeeze(asked.dim) if asked.x.ndim else found
