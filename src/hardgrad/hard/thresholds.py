"""Functions of one element at a time, and the threshold at the mean."""

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
        return keep_nan(x.sign(), x)
    # What is left outside the dead zone is greater than the margin, so the quotient reaches 1; NaN passes all three.
    return F.hardtanh_(F.hardshrink(x, margin).div_(margin))


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
    return keep_nan((x >= threshold).to(x.dtype), x)


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
    return keep_nan((centred >= 0).to(x.dtype), centred)


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


def keep_nan(y: Tensor, x: Tensor) -> Tensor:
    """Return ``y``, but NaN where ``x`` is."""
    return torch.where(x.isnan(), x, y)
