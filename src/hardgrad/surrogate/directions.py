"""Where a function is asked around a point, and what its differences there are multiplied by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """How far each number may be moved: shape ``(batch, n)`` all of them, and a row has its own directions.

    Attributes:
        at: where the function is asked for its value.
        scale: s, above 0; may be of one row.
        low, high: the bounds, or None.
        lower, upper: ``at - s`` and ``at + s`` as the function will see them. What would leave the bounds is reflected:
            the part that is cut off on one side is added on the other, so the window stays as wide as it was, or is
            the whole range where that is narrower.
    """

    at: Tensor
    scale: Tensor
    low: Tensor | None
    high: Tensor | None
    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> Tensor:
        """The distance really travelled."""
        return self.upper - self.lower


@dataclass(frozen=True)
class Steps:
    """Where to ask, and what to do with the answers.

    Attributes:
        points: of shape ``(batch, n)``, one after the other, ``x + step`` and ``x - step`` in turn where ``paired``.
        weight: what a difference is multiplied by, ``(samples, batch, n)``; with ``index`` ``(samples, batch)``.
        index: the one number of each row that a sample moves, ``(batch, samples)``; None if it moves all.
        paired: whether differences are those of pairs; else of each answer to the mean of the others.
    """

    points: Iterator[Tensor]
    weight: Tensor
    index: Tensor | None = None
    paired: bool = True


def reflected(at: Tensor, scale: Tensor, low: Tensor | None, high: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the ends of the windows around ``at``, within the bounds; see ``Window``."""
    lower, upper = at - scale, at + scale
    if low is not None:
        short = (low - lower).clamp_min(0)
        lower, upper = lower + short, upper + short
    if high is not None:
        over = (upper - high).clamp_min(0)
        lower, upper = lower - over, upper - over
    if low is None and high is None:
        return lower, upper
    return lower.clamp(low, high), upper.clamp(low, high)  # of a narrow range, and of what was rounded


def random(window: Window, samples: int | None, generator: torch.Generator | None) -> Steps:
    """All numbers of a row at once, each up or down by chance."""
    samples = samples or 1
    shape = (samples, *window.at.shape)
    up = torch.randint(0, 2, shape, generator=generator, device=window.at.device).bool()
    weight = torch.where(up, 1.0, -1.0).to(window.gap.dtype) / (window.gap * samples)

    def points() -> Iterator[Tensor]:
        for each in up:
            yield torch.where(each, window.upper, window.lower)
            yield torch.where(each, window.lower, window.upper)

    return Steps(points(), weight)


def coordinates(window: Window, samples: int | None, generator: torch.Generator | None) -> Steps:
    """One number of a row at a time: all of them, or as many as are drawn for it, without replacement."""
    count = window.at.shape[1]
    samples = min(samples or count, count)
    if samples == count:
        index = torch.arange(count, device=window.at.device).expand_as(window.at)
    else:
        index = torch.rand(window.at.shape, generator=generator, device=window.at.device).argsort(1)[:, :samples]
    weight = (count / samples) / window.gap.gather(1, index).t()

    def points() -> Iterator[Tensor]:
        for k in range(samples):
            moved = index[:, k : k + 1]
            yield window.at.scatter(1, moved, window.upper.gather(1, moved))
            yield window.at.scatter(1, moved, window.lower.gather(1, moved))

    return Steps(points(), weight, index)


def normal(window: Window, samples: int | None, generator: torch.Generator | None) -> Steps:
    """Normal steps and their mirror images."""
    steps, weight = _normal_steps(window, samples or 1, generator)
    points = (_within(window, window.at + sign * step) for step in steps for sign in (1, -1))
    return Steps(points, weight / 2)


def normal_alone(window: Window, samples: int | None, generator: torch.Generator | None) -> Steps:
    """Normal steps, to be held against each other."""
    steps, weight = _normal_steps(window, samples or 1, generator)
    return Steps((_within(window, window.at + step) for step in steps), weight, paired=False)


def _normal_steps(window: Window, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    at = window.at
    e = torch.randn((samples, *at.shape), generator=generator, device=at.device, dtype=at.dtype)
    return window.scale * e, e / (window.scale * samples)


def _within(window: Window, point: Tensor) -> Tensor:
    return point if window.low is None and window.high is None else point.clamp(window.low, window.high)
