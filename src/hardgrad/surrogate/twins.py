"""Soft twins for one hard step: surrogate derivatives used with ``straight_through``.

Each returns a smooth or clipped function that rises by about as much as a unit step or a sign does around ``centre``.
``slope`` is the steepness there: large is faithful and vanishes elsewhere, small reaches far and is more biased.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

SoftTwin = Callable[[Tensor], Tensor]


def clipped(low: float = -1.0, high: float = 1.0) -> SoftTwin:
    r"""Return :math:`\min(\max(x, \text{low}), \text{high})`: gradient one inside, zero outside.

    Args:
        low: lower end of the range that passes a gradient.
        high: upper end, above ``low``.

    Raises:
        ValueError: unless ``low < high``.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(hg.hard.sign, soft=hg.surrogate.twins.clipped())
        >>> x = torch.tensor([0.5, 3.0], requires_grad=True)
        >>> layer(x).sum().backward(); x.grad.tolist()
        [1.0, 0.0]

    Source: Courbariaux et al. 2016 (arXiv 1602.02830), equation 4.
    """
    if not low < high:
        raise ValueError(f"clipped: low must be below high, got low={low} and high={high}; swap them")
    return lambda x: x.clamp(low, high)


def sigmoid(slope: float = 1.0, centre: float = 0.0) -> SoftTwin:
    r"""Return :math:`\sigma(\text{slope}\,(x - \text{centre}))`, the twin of a unit step.

    Args:
        slope: steepness, above 0.
        centre: the threshold of the step.

    Raises:
        ValueError: unless ``slope > 0``.

    Source: Zenke and Ganguli 2018 (arXiv 1705.11146) for the family; the sigmoid's own derivative.
    """
    _check_slope("sigmoid", slope)
    return lambda x: torch.sigmoid(slope * (x - centre))


def tanh(slope: float = 1.0, centre: float = 0.0) -> SoftTwin:
    r"""Return :math:`\tanh(\text{slope}\,(x - \text{centre}))`, the twin of a sign.

    Args:
        slope: steepness, above 0.
        centre: where the sign changes.

    Raises:
        ValueError: unless ``slope > 0``.
    """
    _check_slope("tanh", slope)
    return lambda x: torch.tanh(slope * (x - centre))


def arctan(slope: float = 1.0, centre: float = 0.0) -> SoftTwin:
    r"""Return :math:`\tfrac1\pi\arctan(\tfrac\pi2\,\text{slope}\,(x - \text{centre})) + \tfrac12`, the twin of a step.

    Its tails fall as :math:`1/x^2`, so a unit far from its threshold still hears something.

    Args:
        slope: steepness, above 0; the derivative at the centre is ``slope / 2``.
        centre: the threshold of the step.

    Raises:
        ValueError: unless ``slope > 0``.

    Source: Fang et al. 2021 (arXiv 2007.05785), the surrogate of its section 3.
    """
    _check_slope("arctan", slope)
    return lambda x: torch.atan(0.5 * math.pi * slope * (x - centre)) / math.pi + 0.5


def _check_slope(name: str, slope: float) -> None:
    if not slope > 0:
        raise ValueError(f"{name}: slope must be above 0, got {slope}; its sign is that of the step it stands for")
