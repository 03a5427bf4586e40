"""Many gradients of one candidate, summed in independent groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.doctor.pace import Pace
from hardgrad.doctor.randomness import seed_of, seeded
from hardgrad.doctor.subject import Subject, learning
from hardgrad.doctor.truth import GROUPS


@dataclass(frozen=True)
class Draws:
    """What is kept of many gradients.

    Args:
        count: how many, each of the whole batch.
        groups: their means in independent groups, double precision, shape ``(GROUPS, *x.shape)``.
        moved: in how many gradients each coordinate was not zero, shape of x.
        variance: of one gradient, summed over coordinates.
        cosine_of_one: mean cosine of a single gradient with the reference, 0 for a gradient of zeros.
        learns: whether the candidate has a penalty to learn from.
    """

    count: int
    groups: Tensor
    moved: Tensor
    variance: float
    cosine_of_one: float
    learns: bool

    @property
    def mean(self) -> Tensor:
        return self.groups.mean(0)

    def and_more(self, other: Draws) -> Draws:
        """Return these and others of the same candidate as one."""
        n = self.count + other.count
        a, b = self.count / n, other.count / n
        groups = a * self.groups + b * other.groups
        squares = sum((d.count - 1) * d.variance + d.count * float(d.mean.square().sum()) for d in (self, other))
        return Draws(
            n,
            groups,
            self.moved + other.moved,
            max(squares - n * float(groups.mean(0).square().sum()), 0.0) / (n - 1),
            a * self.cosine_of_one + b * other.cosine_of_one,
            self.learns or other.learns,
        )

    @property
    def zeros(self) -> float:
        """Share of exact zeros among all coordinates of all gradients."""
        return 1 - float(self.moved.mean()) / self.count


def draw(subject: Subject, count: int, reference: Tensor, seed: int, pace: Pace | None = None) -> Draws:
    """Take gradients and return what is kept of them.

    Args:
        subject: the candidate.
        count: how many, rounded up to a multiple of ``GROUPS``, so that all groups weigh the same.
        reference: the truth, shape of x.
        seed: of all randomness.
        pace: the clock; where it has a limit, there are as many gradients as fit, doubling as they go.

    Raises:
        ValueError: if a gradient holds NaN or infinity; and whatever the candidate raises.
    """
    pace, n = pace or Pace(), -(-count // GROUPS) * GROUPS
    if not pace.limited:
        return _round(subject, n, reference, seed, pace, (0, n))
    start, rounds = pace.now(), 0
    draws = _round(subject, GROUPS, reference, seed, pace, (0, n))
    while draws.count < n:
        seconds_each = (pace.now() - start) / draws.count
        fits = min(draws.count, n - draws.count, pace.affordable(seconds_each))
        if fits < GROUPS:
            break
        rounds += 1
        size = int(fits) // GROUPS * GROUPS
        draws = draws.and_more(_round(subject, size, reference, seed_of(seed, str(rounds)), pace, (draws.count, n)))
    return draws


@torch.no_grad()
def _round(subject: Subject, n: int, reference: Tensor, seed: int, pace: Pace, place: tuple[int, int]) -> Draws:
    """Take n gradients, a group at a time, so that one who waits sees them come."""
    tally, (before, whole) = _Tally(subject.smoothed.x, reference, n), place
    with seeded(seed, subject.smoothed.x.device) as generator:
        while tally.count < n:
            noise = subject.smoothed.noise(min(subject.at_once, n - tally.count), generator)
            for some in noise.split(n // GROUPS):
                pace.reached((before + tally.count) / whole)
                # A copy for each chunk: a running average, say, stands where the caller left it.
                gradient, bag = subject.gradients(subject.fresh(), some)
                _check_finite(gradient.flatten(1), subject.name)
                tally.take(gradient.flatten(1).double(), bool(learning(bag)))
    return tally.draws()


class _Tally:
    """Sums over gradients, as they come."""

    def __init__(self, x: Tensor, reference: Tensor, n: int) -> None:
        self.shape, self.per_group = x.shape, n // GROUPS
        self.unit = reference.flatten() / reference.norm().clamp(min=torch.finfo(torch.float64).tiny)
        self.sums = torch.zeros(GROUPS, x.numel(), dtype=torch.float64, device=x.device)
        self.moved = torch.zeros_like(self.sums[0])
        self.count, self.aligned, self.squares, self.learns = 0, 0.0, 0.0, False

    def take(self, g: Tensor, learns: bool) -> None:
        """Add gradients ``(k, coordinates)``; each group is of those that follow each other."""
        group = torch.arange(self.count, self.count + len(g), device=g.device) // self.per_group
        self.sums.index_add_(0, group, g)
        norm = g.norm(dim=1)
        self.aligned += float((g @ self.unit / torch.where(norm > 0, norm, 1)).sum())
        self.squares += float(norm.square().sum())
        self.moved += (g != 0).sum(0)
        self.learns = self.learns or learns
        self.count += len(g)

    def draws(self) -> Draws:
        n, groups = self.count, self.sums / self.per_group
        variance = max(self.squares - n * float(groups.mean(0).square().sum()), 0.0) / (n - 1)
        shape = self.shape
        return Draws(n, groups.view(GROUPS, *shape), self.moved.view(shape), variance, self.aligned / n, self.learns)


def _check_finite(gradients: Tensor, name: str) -> None:
    bad = 1 - float(gradients.isfinite().all(1).double().mean())
    if bad:
        raise ValueError(f"{name}: {bad:.1%} of its gradients hold NaN or infinity")
