"""The nearest of some values: evenly spaced ones, by number, or sorted ones of the user's own, by search."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import readable
from hardgrad.hard import checks
from hardgrad.hard.precision import back, double, keep_nan


def quantize(x: Tensor, levels: int | Tensor, low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
    r"""Return the nearest of ``levels`` evenly spaced values from ``low`` to ``high``, or of the values given.

    .. math:: y = \text{low} + \Delta \,\text{round}\!\left(\frac{\text{clip}(x) - \text{low}}{\Delta}\right), \qquad
        \Delta = \frac{\text{high} - \text{low}}{\text{levels} - 1}

    It is computed in double precision whatever the dtype, and rounded once. Half way between two levels the one of even
    number counts as the nearest, from 0 at ``low``.

    Args:
        x: any shape.
        levels: how many values, from 2 to 2 ** 53; ``2 ** bits`` for a quantizer of so many bits. Or the values: a
            floating tensor (..., n) that rises along its last dimension, whose others broadcast with x: (n,) for all of
            x, (channels, 1, 1, n) for the channels of an image.
        low: the lowest value; what lies below is clipped to it. A number, or a tensor that broadcasts with x.
        high: the highest value, likewise.

    Returns:
        A tensor of x's dtype, and of its shape broadcast with the tensors'; NaN where x, a bound or one of the levels
        is, and where a graph or transform hides that bounds or levels break their rule.

    Raises:
        ValueError: if ``levels`` is out of range or does not rise, or ``low`` and ``high`` are not finite and in this
            order, or are given beside a tensor of levels.
        TypeError: if x is not a floating tensor, ``levels`` not an int, or a bound not a number.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.quantize(torch.tensor([-3.0, 0.2, 0.3, 0.9]), levels=3).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    checks.floating("quantize", x)
    if isinstance(levels, Tensor) and levels.is_floating_point():
        return _nearest_of(x, levels, low, high)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return _between(x, _checked_count(levels) - 1, _bound(x, low, "low"), _bound(x, high, "high"))
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


def _checked_count(levels: int | Tensor) -> int:
    levels = _check.whole("quantize", "levels", levels)
    if levels < 2:
        raise ValueError(
            f"quantize: levels must be at least 2, got {levels}; 2 ** bits for a quantizer of so many bits"
        )
    if levels > 2**53:
        raise ValueError(f"quantize: levels must be at most 2 ** 53, got {levels}; use round for a grid without end")
    return levels


def _checked_levels(levels: int | Tensor, low: float, high: float) -> tuple[int, float, float]:
    levels = _checked_count(levels)
    low, high = _check.real("quantize", "low", low), _check.real("quantize", "high", high)
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


def _bound(x: Tensor, bound: float | Tensor, name: str) -> Tensor:
    if isinstance(bound, Tensor):
        checks.beside("quantize", x, bound, name)
        return double(bound)
    return double(torch.full((), _check.real("quantize", name, bound), device=x.device, dtype=torch.float64))


def _between(x: Tensor, last: int, low: Tensor, high: Tensor) -> Tensor:
    """Return what the function of numbers does, of tensors: the same operations in double precision."""
    checks.broadcast("quantize", x.expand(torch.broadcast_shapes(x.shape, low.shape)), high, "high")
    span = high - low
    wrong = ~((span > 1e-280) & (span < 1e280))  # NaN is no mistake, but gives NaN
    if readable(span) and bool((wrong & ~span.isnan() | low.isinf() | high.isinf()).any()):
        _refuse(low, high)
    wide, scale = double(x), last / span
    index = torch.where((low < 0) & (high > 0), wide * scale + -low / span * last, (wide - low) * scale)
    index = index.round().clamp(0, last)
    if x.dtype == torch.float64:
        return (low + index * span / last).masked_fill(wrong, torch.nan)
    zero = (-low / span * last + 0.5).floor().clamp(0, last)
    y = (index - zero) * (span / last) + (low * (last - zero) + high * zero) / last
    return back(y, x.dtype).masked_fill(wrong, torch.nan)


def _refuse(low: Tensor, high: Tensor) -> None:
    for a, b in zip(*(t.flatten().tolist() for t in torch.broadcast_tensors(low, high)), strict=True):
        if a == a and b == b:
            _checked_levels(2, a, b)


def _nearest_of(x: Tensor, levels: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    if isinstance(low, Tensor) or isinstance(high, Tensor) or (low, high) != (0.0, 1.0):
        raise ValueError(
            "quantize: low and high must be left out where levels is a tensor, got both; its ends are its own"
        )
    place = place_of(x, levels)
    y = back(double(taken(levels, place)), x.dtype)
    rises = (levels.diff(dim=-1) >= 0).all(-1)  # not NaN
    return keep_nan(y, x).masked_fill(~rises, torch.nan)


def place_of(x: Tensor, levels: Tensor) -> Tensor:
    """Return the number of the nearest of the levels (..., n) for each entry of x, by bisection."""
    _check_values(x, levels)
    wide, values = double(x.detach()), double(levels.detach())
    middles, size = (values[..., 1:] / 2 + values[..., :-1] / 2), int(levels.shape[-1]) - 1
    shape = torch.broadcast_shapes(x.shape, levels.shape[:-1])
    place = torch.zeros(shape, dtype=torch.long, device=x.device)
    for bit in reversed(range(size.bit_length())):  # how many middles lie below x
        further = place + 2**bit
        below = taken(middles, further.clamp(max=size) - 1) < wide
        place = torch.where(below & (further <= size), further, place)
    half = taken(middles, place.clamp(max=size - 1)) == wide
    return torch.where(half & (place < size) & (place % 2 == 1), place + 1, place)


def taken(levels: Tensor, place: Tensor) -> Tensor:
    """Return the values at the places of levels (..., n), whose leading dimensions broadcast with the places."""
    lead, size = levels.shape[:-1], levels.shape[-1]
    start = torch.arange(lead.numel(), device=place.device).mul(size).view(lead)
    return levels.flatten()[start + place]


def _check_values(x: Tensor, levels: Tensor) -> None:
    checks.floating("quantize", levels, "levels")
    checks.same_device("quantize", x, levels, "levels")
    if levels.ndim == 0 or levels.shape[-1] < 2:
        raise ValueError(
            f"quantize: levels must have at least 2 values along its last dimension, got shape {tuple(levels.shape)}"
        )
    checks.broadcast("quantize", x, levels[..., 0], "levels without its last dimension")
    if readable(levels) and bool((levels.diff(dim=-1) < 0).any() | levels.isinf().any()):
        raise ValueError(
            "quantize: levels must be finite and rise along its last dimension, got one below the one before it, or "
            "infinity; give levels.sort(-1).values"
        )
