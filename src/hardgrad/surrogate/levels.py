"""Soft twins of functions with more than one edge that learns: a dead zone, a quantizer. Their place is ``twins``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.hard.levels import place_of, taken
from hardgrad.hard.precision import back, single

Twin = Callable[..., Tensor]


def dead_zone(step: Twin, margin: float = 0.0) -> Twin:
    r"""Return :math:`s(x - m) + s(x + m) - 1`, the twin of ``hard.sign`` with a margin m, from the twin s of a step.

    If s is the distribution function of a symmetric noise, the gradients of x and of the margin are those of the mean
    of the sign of x with that noise.

    Args:
        step: the twin of a unit step.
        margin: m where the layer is called with x alone; ``layer(x, margin)`` gives a tensor, which may learn.

    Returns:
        A function of x, or of x and a margin, that can be pickled if ``step`` can.

    Raises:
        TypeError: if ``step`` is no function.
        ValueError: unless ``margin`` is finite and at least 0.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(hg.hard.sign, hg.surrogate.twins.dead_zone(hg.surrogate.twins.sigmoid(2.0)))
        >>> margin = torch.tensor([0.5], requires_grad=True)
        >>> layer(torch.tensor([1.0]), margin).backward()
        >>> bool(margin.grad < 0)      # a wider zone would make this 1 a 0
        True
    """
    _check.function("dead_zone", "step", step, cure="a twin of a step, as hardgrad.surrogate.twins.sigmoid()")
    _check.number("dead_zone", "margin", margin, least=0)
    return partial(_dead_zone, step=step, fixed=margin)


def quantizer(levels: int | None = None) -> Twin:
    r"""Return the twin of ``hard.quantize`` with bounds or values that learn, straight through the rounding.

    .. math:: \frac{\partial y}{\partial x} = 1, \qquad \frac{\partial y}{\partial\,\text{low}} = u - r, \qquad
        \frac{\partial y}{\partial\,\text{high}} = r - u, \qquad u = \frac{x - \text{low}}{\text{high} - \text{low}},
        \quad r = \frac{y - \text{low}}{\text{high} - \text{low}}

    from low to high; beyond, x gets 0 and the bound that is returned 1. Of values that learn, the one that is returned
    gets 1, less the weights of x between the two around it: for evenly spaced ones the same.

    Args:
        levels: how many, for ``layer(x, low, high)``; None for ``layer(x, values)``.

    Returns:
        A function of x and these tensors, that can be pickled.

    Raises:
        ValueError: if ``levels`` is below 2.
        TypeError: if it is not an int.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(
        ...     lambda x, low, high: hg.hard.quantize(x, 4, low, high), hg.surrogate.twins.quantizer(4))
        >>> low, high = torch.tensor(0.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
        >>> layer(torch.tensor([5.0, 1.5]), low, high).tolist()
        [3.0, 2.0]

    Source: the gradient of Esser et al. 2020 (arXiv 1902.08153), equation 3, for both ends.
    """
    if levels is None:
        return _to_values
    return partial(_to_levels, levels=_check.whole("quantizer", "levels", levels, least=2))


def _dead_zone(x: Tensor, margin: Tensor | None = None, *, step: Twin, fixed: float) -> Tensor:
    edge = fixed if margin is None else margin
    return step(x - edge) + step(x + edge) - 1


def _to_levels(x: Tensor, low: Tensor, high: Tensor, *, levels: int) -> Tensor:
    span = single(high) - single(low)
    place = ((single(x) - single(low)) / span).clamp(0, 1)
    rounded = ((place * (levels - 1)).round() / (levels - 1) - place).detach()
    return back(single(low) + span * (place + rounded), x.dtype)


def _to_values(x: Tensor, levels: Tensor) -> Tensor:
    wide, values = single(x), single(levels)
    place = place_of(x, levels)
    nearest, first, last = taken(values, place), values[..., 0], values[..., -1]
    inside = torch.where(wide < first, first, torch.where(wide > last, last, wide))
    before = (place - (inside < nearest).long()).clamp(0, levels.shape[-1] - 2)
    left, right = taken(values, before), taken(values, before + 1)
    share = ((inside - left) / (right - left)).nan_to_num(0).detach()
    return back(nearest + inside - torch.lerp(left, right, share), x.dtype)
