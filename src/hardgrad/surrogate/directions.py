"""Where a function is asked around a table of numbers, a row of the batch a row, each with directions of its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Directions = tuple[Iterator[Tensor], Tensor]


def window(at: Tensor, scale: Tensor, low: Tensor | None, high: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return ``at - scale`` and ``at + scale``, each pair moved together until it is within the bounds.

    So what a bound takes from the step on one side is added to that on the other; where the bounds are nearer to each
    other than that, they are the pair.
    """
    lower, upper = at - scale, at + scale
    if low is None and high is None:
        return lower, upper
    up = (low - lower).clamp_min(0) if low is not None else 0
    down = (upper - high).clamp_min(0) if high is not None else 0
    # Clamped for a narrow range, and for what was rounded.
    return (lower + up - down).clamp(low, high), (upper + up - down).clamp(low, high)


def two_points(
    at: Tensor, lower: Tensor, upper: Tensor, coordinates: bool, samples: int | None, generator: torch.Generator | None
) -> Directions:
    """Return pairs of points, and what each pair's difference is multiplied by, ``(samples, *at.shape)``.

    Args:
        at: shape ``(batch, n)``.
        lower: one end of each number's window.
        upper: the other.
        coordinates: whether a pair differs in one number of a row; else in all, each up or down by chance.
        samples: how many pairs.
        generator: of the random numbers.
    """
    count, gap = at.shape[1], upper - lower
    if not coordinates:
        samples = samples or 1
        up = torch.randint(2, (samples, *at.shape), generator=generator, device=at.device).bool()
        weight, below, above = torch.where(up, 1.0, -1.0).to(gap) / (gap * samples), lower, upper
    else:
        samples = min(samples or count, count)
        order = torch.arange(count, device=at.device).expand_as(at)
        if samples < count:
            order = torch.rand(at.shape, generator=generator, device=at.device).argsort(1)
        up = order.t()[:samples].unsqueeze(-1) == torch.arange(count, device=at.device)
        weight, below, above = torch.where(up, count / samples / gap, 0.0), at, at
    ends = ((upper, below), (lower, above))
    return (torch.where(each, end, other) for each in up for end, other in ends), weight


def normal(
    at: Tensor, scale: Tensor, antithetic: bool, samples: int | None, generator: torch.Generator | None
) -> Directions:
    """Return normal points around ``at``, each followed by its mirror image if asked, and weights as above."""
    samples = samples or 1
    e = torch.randn((samples, *at.shape), generator=generator, device=at.device, dtype=at.dtype)
    signs = (1, -1) if antithetic else (1,)
    return (at + sign * scale * each for each in e for sign in signs), e / (scale * samples * len(signs))
