"""Soft twins of a spike, named for their derivative; their public place is ``twins``.

What each returns is called with x, and with a threshold that learns, if there is one. It computes in single precision
at least and rounds once, so that half has the float32 gradient, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.hard.precision import back, single

Twin = Callable[..., Tensor]


def fast_sigmoid(slope: float = 25.0, center: float = 0.0) -> Twin:
    r"""Return :math:`z / (1 + \text{slope}\,|z|)` with :math:`z = x - \text{center}`, the twin of SuperSpike.

    .. math:: y' = \frac{1}{(1 + \text{slope}\,|z|)^2}, \qquad \text{peak } 1, \qquad \text{area } 2 / \text{slope}

    The peak is 1 whatever the slope, so a large one lends little on the whole: the step it stands for is
    :math:`2 / \text{slope}` high.

    Args:
        slope: how fast the derivative falls, above 0, by one unit of x.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``slope > 0`` and both are finite.

    Example:
        >>> import torch, hardgrad as hg
        >>> spike = hg.straight_through(hg.hard.step, soft=hg.surrogate.twins.fast_sigmoid(slope=1.0))
        >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> spike(x).sum().backward(); x.grad.tolist()
        [1.0, 0.25]

    Source: Zenke and Ganguli 2018 (arXiv 1705.11146), section 3.3.2.
    """
    _check.number("fast_sigmoid", "slope", slope, above=0, cure="it is how fast the derivative falls")
    return _twin("fast_sigmoid", _fast_sigmoid, center, slope=slope)


def triangle(width: float = 1.0, center: float = 0.0) -> Twin:
    r"""Return the step whose derivative is a triangle that ends at ``width`` to either side.

    .. math:: y' = \frac1w \max\left(0, 1 - \frac{|x - \text{center}|}{w}\right), \qquad
        \text{peak } \frac1w, \qquad \text{area } 1

    Args:
        width: w, above 0, in units of x.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``width > 0`` and both are finite.

    Source: Esser et al. 2016 (arXiv 1603.08270); Bellec et al. 2018 (arXiv 1803.09574).
    """
    return _wide("triangle", _triangle, width, center)


def rectangle(width: float = 1.0, center: float = 0.0) -> Twin:
    r"""Return the step whose derivative is a rectangle, ``width`` from side to side: a ramp between two levels.

    .. math:: y' = \frac1w \text{ where } |x - \text{center}| \le \frac w2, \text{ else } 0, \qquad
        \text{peak } \frac1w, \qquad \text{area } 1

    Args:
        width: w, above 0, in units of x.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``width > 0`` and both are finite.

    Source: Wu et al. 2018 (arXiv 1706.02609), the first of its four curves.
    """
    return _wide("rectangle", _rectangle, width, center)


def gaussian(width: float = 0.5, center: float = 0.0) -> Twin:
    r"""Return the normal distribution function, :math:`\Phi((x - \text{center}) / w)`: its derivative is a bell.

    .. math:: y' = \frac{1}{w \sqrt{2 \pi}} \exp\left(-\frac{(x - \text{center})^2}{2 w^2}\right), \qquad
        \text{peak } \frac{1}{w \sqrt{2 \pi}} \approx \frac{0.399}{w}, \qquad \text{area } 1

    It is the slope of a step's mean where normal noise of that standard deviation is added to x.

    Args:
        width: w, the standard deviation, above 0, in units of x.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``width > 0`` and both are finite.

    Source: Yin, Corradi and Bohte 2021 (arXiv 2103.12593).
    """
    return _wide("gaussian", _gaussian, width, center)


def leaky(below: float = 0.1, center: float = 0.0) -> Twin:
    r"""Return a ramp that leaks: :math:`y = x - \text{center}` above the center, ``below`` times that elsewhere.

    .. math:: y' = 1 \text{ where } x > \text{center}, \text{ else below}, \qquad
        \text{peak } 1, \qquad \text{area without end}

    Alone among these its derivative is not even, and never fades: a neuron far above its threshold learns as one at it.

    Args:
        below: the derivative at the center and below, from 0 to 1.
        center: the threshold of the step.

    Raises:
        ValueError: unless ``0 <= below <= 1`` and the center is finite.

    Source: Maas, Hannun and Ng 2013, Rectifier nonlinearities improve neural network acoustic models.
    """
    _check.number("leaky", "below", below, least=0, most=1, cure="it is the derivative below the center")
    return _twin("leaky", _leaky, center, below=below)


def _wide(name: str, function: Twin, width: float, center: float) -> Twin:
    _check.number(name, "width", width, above=0, cure="it is how far the derivative reaches")
    return _twin(name, function, center, width=width)


def _twin(name: str, function: Twin, center: float, **shape: float) -> Twin:
    _check.number(name, "center", center, cure="it is where the step is")
    return partial(function, center=center, **shape)


def above(x: Tensor, threshold: Tensor | None, center: float, width: float = 1.0) -> Tensor:
    """Return by how many widths x is above the center, which a threshold moves, in single precision at least."""
    z = single(x) if threshold is None else single(x) - threshold
    z = z - center if center else z
    return z / width if width != 1 else z


def _fast_sigmoid(x: Tensor, threshold: Tensor | None = None, *, slope: float, center: float) -> Tensor:
    z = above(x, threshold, center)
    # Not z / (1 + slope |z|): far out its derivative is a difference of two nearly equal numbers. Nor abs, whose own
    # derivative at the center is 0.
    toward = torch.copysign(torch.full_like(z, slope), z.detach())
    return back((1 - (1 + toward * z).reciprocal()) / toward, x.dtype)


def _triangle(x: Tensor, threshold: Tensor | None = None, *, width: float, center: float) -> Tensor:
    z = above(x, threshold, center, width).clamp(-1, 1)
    return back(torch.addcmul(0.5 + z, z, z.abs(), value=-0.5), x.dtype)


def _rectangle(x: Tensor, threshold: Tensor | None = None, *, width: float, center: float) -> Tensor:
    return back(0.5 + above(x, threshold, center, width).clamp(-0.5, 0.5), x.dtype)


def _gaussian(x: Tensor, threshold: Tensor | None = None, *, width: float, center: float) -> Tensor:
    return back(0.5 + 0.5 * torch.erf(above(x, threshold, center, math.sqrt(2) * width)), x.dtype)


def _leaky(x: Tensor, threshold: Tensor | None = None, *, below: float, center: float) -> Tensor:
    return back(torch.nn.functional.leaky_relu(above(x, threshold, center), below), x.dtype)
