"""Functions of one element at a time, and the threshold at the mean.

In half precision they are the float32 function of the same numbers, rounded. A number that they compare with is taken
in the precision of the comparison, single at least: float32's 0.7 is on a threshold of 0.7, bfloat16's is below it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad import _check
from hardgrad.hard import checks
from hardgrad.hard.precision import back, double, keep_nan, middling, reached, single


def sign(x: Tensor, margin: float = 0.0) -> Tensor:
    r"""Return -1, 0 or 1: the sign outside a dead zone around zero.

    .. math:: y_i = -1 \text{ if } x_i < -\epsilon, \quad 1 \text{ if } x_i > \epsilon, \quad 0 \text{ otherwise}

    Args:
        x: any shape.
        margin: epsilon, half the width of the dead zone, at least 0, in x's precision, single at least. The edge
            belongs to the zone: what equals epsilon gives 0.

    Returns:
        A tensor of x's shape and dtype; NaN where x is.

    Raises:
        ValueError: if ``margin`` is negative or NaN.
        TypeError: if x is not a floating tensor or ``margin`` is not a number.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sign(torch.tensor([-0.7, -0.5, 0.1, 0.6]), margin=0.5).tolist()
        [-1.0, 0.0, 0.0, 1.0]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), equation 1.
    """
    checks.floating("sign", x)
    margin = _check.real("sign", "margin", margin)
    if not margin >= 0:
        raise ValueError(f"sign: margin must be at least 0, got {margin}; it is half the width of the dead zone")
    if margin == 0:
        return keep_nan(x.sign(), x)
    wide = single(x)
    limits = torch.finfo(wide.dtype)
    if margin < limits.tiny:  # twice its reciprocal is no number
        return keep_nan(F.hardshrink(wide, margin).sign().to(x.dtype), x)
    if limits.max < margin < math.inf:
        margin = limits.max
    # What is left outside the dead zone is greater than the margin, so the product is beyond 1; NaN passes all three.
    # By the reciprocal of the margin itself it could be just below 1.
    return F.hardtanh_(F.hardshrink(wide, margin).mul_(2 / margin)).to(x.dtype)


def step(x: Tensor, threshold: float | Tensor = 0.0) -> Tensor:
    r"""Return 1 where ``x`` is at least ``threshold``, else 0.

    Args:
        x: any shape.
        threshold: where the step is; the value there is 1. A number, taken in x's precision, single at least, or a
            tensor that broadcasts with x.

    Returns:
        A tensor of x's shape and dtype; NaN where x or the threshold is.

    Raises:
        ValueError: if ``threshold`` is the number NaN.
        TypeError: if x is not a floating tensor or ``threshold`` is not a number.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.step(torch.tensor([-0.1, 0.0, 0.2])).tolist()
        [0.0, 1.0, 1.0]

    Source: the binary threshold of Ramapuram and Webb 2020 (arXiv 1905.03658), section I.
    """
    checks.floating("step", x)
    if isinstance(threshold, Tensor):
        return _step_at(x, threshold)
    threshold = _check.real("step", "threshold", threshold)
    wide = single(x)
    most = torch.finfo(wide.dtype).max
    if abs(threshold) > most:  # beyond every finite x: a comparison in x's precision would take it for infinity
        threshold = -most if -math.inf < threshold < 0 else threshold
    return keep_nan(reached(wide.clone(), threshold).to(x.dtype), x)


def _step_at(x: Tensor, threshold: Tensor) -> Tensor:
    checks.floating("step", threshold, "threshold")
    if threshold.ndim:  # torch takes a number from any device
        checks.same_device("step", x, threshold, "threshold")
    checks.broadcast("step", x, threshold, "threshold")
    y = keep_nan((single(x) >= single(threshold)).to(x.dtype), x)
    return y.masked_fill(threshold.isnan(), torch.nan)


def binarize(x: Tensor, dim: int = -1) -> Tensor:
    r"""Return 1 where ``x`` is at least its mean, else 0.

    .. math:: y_i = 1 \text{ if } x_i \ge \tfrac1n \sum_j x_j, \quad 0 \text{ otherwise}

    The mean is that of the numbers as they are, to double precision, and what equals it is 1: so equal entries are all
    1, in every dtype.

    Args:
        x: shape (..., n).
        dim: the dimension that the mean is taken over.

    Returns:
        A tensor of x's shape and dtype; all NaN where the mean is, as it is of a NaN and of both infinities.

    Raises:
        ValueError: if x has no dimension ``dim``.
        TypeError: if x is not a floating tensor or ``dim`` is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.binarize(torch.tensor([[1.0, 2.0, 6.0]])).tolist()
        [[0.0, 0.0, 1.0]]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table III, dab-binary.
    """
    checks.floating("binarize", x)
    entries = checks.size("binarize", x, dim)
    if entries == 0:
        return x.clone()
    wide = double(x)
    if wide.dtype == x.dtype:  # no digits to spare: the sum of equal entries would be rounded
        wide = _centerd(wide, dim)
    total = wide.sum(dim, keepdim=True)
    # Divided by a tensor: by a number, a GPU multiplies by its reciprocal, and equal entries may miss their mean.
    mean = total / torch.full_like(total, entries)
    return back(reached(wide, mean), x.dtype).masked_fill(mean.isnan(), torch.nan)


def _centerd(x: Tensor, dim: int) -> Tensor:
    """Return x less its mean, nearly, in a scale that cannot overflow: entries near the mean lose no digit by it."""
    x = x * middling(x, dim)
    mean = x.mean(dim, keepdim=True)
    return x - torch.where(mean.isfinite(), mean, 0.0)


def round(x: Tensor) -> Tensor:
    """Return the nearest integer, halves to the even one, as ``torch.round`` does.

    Args:
        x: any shape.

    Returns:
        A tensor of x's shape and dtype; NaN where x is.

    Raises:
        TypeError: if x is not a floating tensor.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.round(torch.tensor([0.5, 1.2, 1.5])).tolist()
        [0.0, 1.0, 2.0]
    """
    checks.floating("round", x)
    return torch.round(x)


def quantize(x: Tensor, levels: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    r"""Return the nearest of ``levels`` evenly spaced values from ``low`` to ``high``.

    .. math:: y = \text{low} + \Delta \,\text{round}\!\left(\frac{\text{clip}(x) - \text{low}}{\Delta}\right), \qquad
        \Delta = \frac{\text{high} - \text{low}}{\text{levels} - 1}

    It is computed in double precision whatever the dtype, and rounded once. Half way between two levels the one of even
    number counts as the nearest, from 0 at ``low``.

    Args:
        x: any shape.
        levels: how many values, from 2 to 2 ** 53; ``2 ** bits`` for a quantizer of so many bits.
        low: the lowest value; what lies below is clipped to it.
        high: the highest value.

    Returns:
        A tensor of x's shape and dtype; NaN where x is.

    Raises:
        ValueError: if ``levels`` is out of range, or ``low`` and ``high`` are not finite and in this order.
        TypeError: if x is not a floating tensor, ``levels`` not an int, or a bound not a number.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.quantize(torch.tensor([-3.0, 0.2, 0.3, 0.9]), levels=3).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    checks.floating("quantize", x)
    levels, low, high = _checked_levels(levels, low, high)
    last, span = levels - 1, high - low
    index = _level(x, last, low, high)
    if x.dtype == torch.float64:
        return low + index * span / last
    # Rounded to single precision, a product with the step is as good as a division, which takes longer than all else.
    # Counted from the level next to zero, a level at zero is zero, and not what rounding left of it.
    zero = min(max(math.floor(-low / span * last + 0.5), 0), last)
    offset = (low * (last - zero) + high * zero) / last
    index = (index.sub_(zero) if zero else index).mul_(span / last)
    return back(index.add_(offset) if offset else index, x.dtype)


def _level(x: Tensor, last: int, low: float, high: float) -> Tensor:
    """Return the number of the nearest level, in double precision."""
    index, scale = double(x, copy=True), last / (high - low)
    if low < 0 < high:  # so that zero comes to half way between two levels exactly where it is there
        index = index.mul_(scale).add_(-low / (high - low) * last)
    else:
        index = (index.sub_(low) if low else index).mul_(scale)
    return F.hardtanh_(index.round_(), 0, last)  # vmap has no clamp in place


def _checked_levels(levels: int, low: float, high: float) -> tuple[int, float, float]:
    levels = _check.whole("quantize", "levels", levels)
    low, high = _check.real("quantize", "low", low), _check.real("quantize", "high", high)
    if levels < 2:
        raise ValueError(
            f"quantize: levels must be at least 2, got {levels}; 2 ** bits for a quantizer of so many bits"
        )
    if levels > 2**53:
        raise ValueError(f"quantize: levels must be at most 2 ** 53, got {levels}; use round for a grid without end")
    if not low < high:
        raise ValueError(f"quantize: low must be below high, got low={low} and high={high}; swap them")
    if not (abs(low) < math.inf and abs(high) < math.inf):
        raise ValueError(f"quantize: low and high must be finite, got low={low} and high={high}; give x's own range")
    # Beyond these the step, or how many steps make 1, is no double-precision number.
    if not 1e-280 < high - low < 1e280:
        raise ValueError(
            f"quantize: high - low must be between 1e-280 and 1e280, got low={low} and high={high}; scale x first"
        )
    return levels, low, high
