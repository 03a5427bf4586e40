"""Soft twins for one hard step: surrogate derivatives used with ``straight_through``, made so that they pickle.

Each returns a smooth or clipped function that rises by about as much as a unit step or a sign does around ``center``.
``slope`` is the steepness there: large is faithful and vanishes elsewhere, small reaches far and is more biased.
Those of a step or a sign take x, or x and a threshold that broadcasts with it: it moves the center, and may learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.hard.precision import back as _back
from hardgrad.surrogate.levels import dead_zone as dead_zone
from hardgrad.surrogate.levels import quantizer as quantizer
from hardgrad.surrogate.spiking import above as _above
from hardgrad.surrogate.spiking import fast_sigmoid as fast_sigmoid
from hardgrad.surrogate.spiking import gaussian as gaussian
from hardgrad.surrogate.spiking import leaky as leaky
from hardgrad.surrogate.spiking import rectangle as rectangle
from hardgrad.surrogate.spiking import triangle as triangle

SoftTwin = Callable[..., Tensor]  # of x, or of x and a threshold


def clipped(low: float = -1.0, high: float = 1.0) -> SoftTwin:
    r"""Return :math:`\min(\max(x, \text{low}), \text{high})`: gradient one inside, zero outside.

    Args:
        low: lower end of the range that passes a gradient.
        high: upper end, above ``low``.

    Raises:
        ValueError: unless ``low < high``; either may be infinite.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(hg.hard.sign, soft=hg.surrogate.twins.clipped())
        >>> x = torch.tensor([0.5, 3.0], requires_grad=True)
        >>> layer(x).sum().backward(); x.grad.tolist()
        [1.0, 0.0]

    Source: Courbariaux et al. 2016 (arXiv 1602.02830), equation 4.
    """
    low, high = _check.real("clipped", "low", low), _check.real("clipped", "high", high)
    if not low < high:
        raise ValueError(f"clipped: low must be below high, got low={low} and high={high}; swap them")
    return partial(_clipped, low=low, high=high)


def sigmoid(slope: float = 1.0, center: float = 0.0) -> SoftTwin:
    r"""Return :math:`\sigma(\text{slope}\,(x - \text{center}))`, the twin of a unit step.

    Its derivative has a peak of slope / 4 and an area of 1.

    Args:
        slope: steepness, above 0.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``slope > 0`` and both are finite.

    Source: Zenke and Ganguli 2018 (arXiv 1705.11146) for the family; the sigmoid's own derivative.
    """
    _check_step("sigmoid", slope, center)
    return partial(_sigmoid, slope=slope, center=center)


def tanh(slope: float = 1.0, center: float = 0.0) -> SoftTwin:
    r"""Return :math:`\tanh(\text{slope}\,(x - \text{center}))`, the twin of a sign.

    Its derivative has a peak of ``slope`` and an area of 2.

    Args:
        slope: steepness, above 0.
        center: where the sign changes.

    Raises:
        ValueError: unless ``slope > 0`` and both are finite.
    """
    _check_step("tanh", slope, center)
    return partial(_tanh, slope=slope, center=center)


def arctan(slope: float = 1.0, center: float = 0.0) -> SoftTwin:
    r"""Return :math:`\tfrac1\pi\arctan(\tfrac\pi2\,\text{slope}\,(x - \text{center})) + \tfrac12`, the twin of a step.

    Its derivative has a peak of slope / 2 and an area of 1. Its tails fall as :math:`1/x^2`, so a unit far from its
    threshold still hears something.

    Args:
        slope: steepness, above 0.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``slope > 0`` and both are finite.

    Source: Fang et al. 2021 (arXiv 2007.05785), the surrogate of its section 3.
    """
    _check_step("arctan", slope, center)
    return partial(_arctan, slope=slope, center=center)


def negative_identity(
    project: Literal["mean", "norm", "std"] | None = None, sense: Literal["min", "max"] = "min"
) -> SoftTwin:
    r"""Return :math:`-P(x)`, the twin of a solver that minimizes a linear cost: what should be more should cost less.

    .. math:: P(x) = x, \qquad P_{mean}(x) = x - \bar x, \qquad P_{norm}(x) = x / \|x\|, \qquad
        P_{std} = P_{norm} \circ P_{mean}

    A projection takes out of a row's gradient what changes no solution: a constant added to all costs (``"mean"``,
    where all solutions have as many ones), a factor of all costs (``"norm"``).

    Args:
        project: ``"mean"``, ``"norm"``, ``"std"`` for both, or None.
        sense: ``"max"`` gives P itself, for a solver that maximizes.

    Raises:
        ValueError: for another word.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(
        ...     lambda cost: hg.hard.one_hot_argmax(-cost), hg.surrogate.twins.negative_identity("mean"))
        >>> cost = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> layer(cost)[0, 0].backward(); cost.grad.tolist()
        [[-0.5, 0.5]]

    Source: Sahoo et al. 2023 (arXiv 2205.15213).
    """
    if project is not None:
        _check.one_of("negative_identity", "project", project, ("mean", "norm", "std"), "or None")
    _check.one_of("negative_identity", "sense", sense, ("min", "max"))
    return partial(_projected, project=project, sign=-1.0 if sense == "min" else 1.0)


def _clipped(x: Tensor, threshold: Tensor | None = None, *, low: float, high: float) -> Tensor:
    return _back(_above(x, threshold, 0.0).clamp(low, high), x.dtype)


def _sigmoid(x: Tensor, threshold: Tensor | None = None, *, slope: float, center: float) -> Tensor:
    return _back(torch.sigmoid(slope * _above(x, threshold, center)), x.dtype)


def _tanh(x: Tensor, threshold: Tensor | None = None, *, slope: float, center: float) -> Tensor:
    return _back(torch.tanh(slope * _above(x, threshold, center)), x.dtype)


def _arctan(x: Tensor, threshold: Tensor | None = None, *, slope: float, center: float) -> Tensor:
    return _back(torch.atan(0.5 * math.pi * slope * _above(x, threshold, center)) / math.pi + 0.5, x.dtype)


def _projected(x: Tensor, project: str | None, sign: float) -> Tensor:
    flat = x.flatten(1) if x.ndim > 1 else x.reshape(-1, 1)
    if project in ("mean", "std"):
        flat = flat - flat.mean(1, keepdim=True)
    if project in ("norm", "std"):
        length = flat.norm(dim=1, keepdim=True)
        flat = flat / torch.where(length > 0, length, 1)
    return sign * flat.reshape(x.shape)


def _check_step(twin: str, slope: float, center: float) -> None:
    _check.number(twin, "slope", slope, above=0, cure="it is the steepness of the step")
    _check.number(twin, "center", center, cure="it is where the step is")
