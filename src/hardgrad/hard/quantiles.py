"""Values between those of an ordered input: quantiles and the median, of which NaN counts as the largest value."""

from __future__ import annotations

from torch import Tensor

from hardgrad import _check
from hardgrad.hard import checks
from hardgrad.hard.precision import back, double


def quantile(x: Tensor, q: float, dim: int = -1) -> Tensor:
    r"""Return the q-quantile along ``dim``, with linear interpolation, as ``torch.quantile`` does.

    .. math:: y = (1 - w)\, s_{\lfloor p \rfloor} + w\, s_{\lceil p \rceil}, \quad p = q (n - 1), \quad
        w = p - \lfloor p \rfloor, \quad s = \text{sort}(x)

    NaN counts as the largest value, where ``torch.quantile`` returns NaN for all of a row that holds one.

    Args:
        x: shape (..., n), at least one entry along ``dim``.
        q: which quantile, from 0 (the smallest) to 1 (the largest).
        dim: the dimension to search.

    Returns:
        x's shape without ``dim``, x's dtype.

    Raises:
        ValueError: if ``q`` is out of range, or x has no dimension ``dim`` or no entry along it.
        TypeError: if x is not a floating tensor, ``q`` is not a number, or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.quantile(torch.tensor([3.0, 1.0, 2.0, 10.0]), q=0.5).item()
        2.5
    """
    return _quantile("quantile", x, _check.number("quantile", "q", q, least=0, most=1), dim)


def median(x: Tensor, dim: int = -1) -> Tensor:
    """Return the median along ``dim``: of an even number, the mean of the middle two.

    ``torch.median`` returns the lower of the two.

    Args:
        x: shape (..., n), at least one entry along ``dim``. NaN counts as the largest value.
        dim: the dimension to search.

    Returns:
        x's shape without ``dim``, x's dtype.

    Raises:
        ValueError: if x has no dimension ``dim``, or no entry along it.
        TypeError: if x is not a floating tensor or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.median(torch.tensor([3.0, 1.0, 2.0, 10.0])).item()
        2.5
    """
    return _quantile("median", x, 0.5, dim)


def _quantile(function: str, x: Tensor, q: float, dim: int) -> Tensor:
    checks.floating(function, x)
    entries = checks.size(function, x, dim)
    if entries == 0:
        raise ValueError(f"{function}: x must have at least one entry along dim {dim}, got shape {tuple(x.shape)}")
    if x.ndim == 0:
        return x.clone()
    ordered, place = x.sort(dim).values, q * (entries - 1)
    at = int(place)
    low, share = ordered.select(dim, at), place - at
    if share == 0:  # beside an infinite neighbor, too
        return low.clone()
    return back(double(low) * (1 - share) + double(ordered.select(dim, at + 1)) * share, x.dtype)
