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
from hardgrad._torch_state import readable
from hardgrad.hard import checks
from hardgrad.hard.precision import back, double, keep_nan, middling, reached, single


def sign(x: Tensor, margin: float | Tensor = 0.0) -> Tensor:
    r"""Return -1, 0 or 1: the sign outside a dead zone around zero.

    .. math:: y_i = -1 \text{ if } x_i < -\epsilon, \quad 1 \text{ if } x_i > \epsilon, \quad 0 \text{ otherwise}

    Args:
        x: any shape.
        margin: epsilon, half the width of the dead zone, at least 0, in x's precision, single at least. The edge
            belongs to the zone: what equals epsilon gives 0. A number, or a tensor that broadcasts with x.

    Returns:
        A tensor of x's dtype, and of its shape broadcast with the margin's; NaN where x or the margin is, and where a
        tensor's margin is negative and a graph or transform hides that.

    Raises:
        ValueError: if ``margin`` is negative, or the number NaN.
        TypeError: if x is not a floating tensor or ``margin`` is not a number.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.sign(torch.tensor([-0.7, -0.5, 0.1, 0.6]), margin=0.5).tolist()
        [-1.0, 0.0, 0.0, 1.0]

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), equation 1.
    """
    checks.floating("sign", x)
    if isinstance(margin, Tensor):
        return _sign_beyond(x, margin)
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


def _sign_beyond(x: Tensor, margin: Tensor) -> Tensor:
    checks.beside("sign", x, margin, "margin")
    if readable(margin) and (margin < 0).any():
        raise ValueError(
            f"sign: margin must be at least 0, got {margin.min().item():g}; it is half the width of the dead zone"
        )
    wide, edge = single(x), single(margin)
    y = (wide > edge).to(x.dtype) - (wide < -edge).to(x.dtype)
    return keep_nan(y, x).masked_fill(~(margin >= 0), torch.nan)


def step(x: Tensor, threshold: float | Tensor = 0.0) -> Tensor:
    r"""Return 1 where ``x`` is at least ``threshold``, else 0.

    Args:
        x: any shape.
        threshold: where the step is; the value there is 1. A number, taken in x's precision, single at least, or a
            tensor that broadcasts with x.

    Returns:
        A tensor of x's dtype, and of its shape broadcast with the threshold's; NaN where x or the threshold is.

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
    checks.beside("step", x, threshold, "threshold")
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
