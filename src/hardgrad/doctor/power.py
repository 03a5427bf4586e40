"""What noise leaves to be seen of a bias: how significant one is, and how small a one would have been found.

With no bias the squared distance between the mean of the draws and the truth, over its expectation, is about a
chi-square variate over its degrees of freedom, whose number follows from two traces (Satterthwaite); its cube root is
about normal (Wilson and Hilferty).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.doctor.measure import Draws
from hardgrad.doctor.row import SEEN, SIGNIFICANT
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.truth import Reference

# Single precision sums to about this much of a gradient's norm; what is below is no bias.
ROUNDING = 1e-5
_OPERATIONS = 4  # whose rounding may add up in values that cancel: of the logits, the objective, its sum, what is left
_NINE_IN_TEN = 1.2816  # standard errors of a normal variate
# What draws beyond those of the default may cost: draws, numbers of their gradients, and calls of the candidate.
_MOST_DRAWS, _MOST_NUMBERS, _MOST_CALLS = 32_000, 2**22, 400


@dataclass(frozen=True)
class Noise:
    """What makes up the squared distance between a mean and the truth where there is no bias.

    Args:
        measured: of the mean of the draws and of the truth, as far as it was seen.
        rounding: of the candidate's arithmetic.
        unseen: what rare events may add.
        trace: of the squared covariance of the distance.
        coordinates: of a gradient.
    """

    measured: float
    rounding: float
    unseen: float
    trace: float
    coordinates: int

    @property
    def expected(self) -> float:
        return self.measured + self.rounding + self.unseen

    @property
    def wide(self) -> float:
        """Variance of the cube root of the distance over its expectation."""
        freedom = max(min(self.expected**2 / self.trace if self.trace else 1.0, self.coordinates), 1.0)
        return 2 / (9 * freedom)

    def significance(self, distance: float) -> float:
        """Return how many standard errors of a normal variate a squared distance is from its expectation."""
        return (math.cbrt(distance / self.expected) - (1 - self.wide)) / math.sqrt(self.wide)


class Rounding(NamedTuple):
    """How far arithmetic alone may lead a candidate's mean from the truth.

    Args:
        relative: to the norm of a gradient.
        absolute: a norm, of large values that cancel in it.
    """

    relative: float = ROUNDING
    absolute: float = 0.0

    @classmethod
    def of(cls, smoothed: Smoothed) -> Rounding:
        """Return that of the precision and the values of an objective.

        A gradient is a sum of values times scores, whose size is one over the noise. Estimators work in single
        precision at the least; what half precision rounds is their result, and what they are given.
        """
        score = float((smoothed.x.new_ones(smoothed.x.shape) / smoothed.sigma).double().norm()) / 2
        single = torch.finfo(torch.float32).eps
        return cls(max(ROUNDING, smoothed.rounding / 2), _OPERATIONS * single * smoothed.scale * score)


OF_SINGLE = Rounding()


def noise_of(draws: Draws, truth: Reference, rounding: Rounding) -> Noise:
    """Return what noise makes of the distance between a candidate's mean and the truth.

    Args:
        draws: the candidate's.
        truth: the reference.
        rounding: of the candidate.
    """
    difference = draws.groups.flatten(1) - truth.groups.flatten(1)
    unseen = _unseen(draws, truth)
    squares = float(draws.mean.square().sum()) + float(truth.gradient.square().sum())
    return Noise(
        measured=draws.variance / draws.count + float(truth.variance.sum()),
        rounding=rounding.relative**2 * squares + rounding.absolute**2,
        unseen=float(unseen.sum()),
        trace=float(_trace_of_square(difference)) / len(difference) ** 2 + float(unseen.square().sum()),
        coordinates=difference.shape[1],
    )


def smallest_bias(noise: Noise) -> float:
    """Return the norm of the smallest bias that would have been called one nine times in ten, whatever its direction.

    The squared distance under a bias b has the mean of the noise plus :math:`b^2`, and the variance
    :math:`2 T + 4 b^\\top \\Sigma b`, with T the trace of the squared covariance; no direction has more than its root.
    """
    wide = noise.wide
    threshold = noise.expected * (1 - wide + SIGNIFICANT * math.sqrt(wide)) ** 3
    square = threshold
    for _ in range(50):  # a fixed point that each turn comes nearer to by half at least
        spread = math.sqrt(2 * noise.trace + 4 * square * math.sqrt(noise.trace))
        square = threshold - noise.measured + _NINE_IN_TEN * spread
    return math.sqrt(square)


def draws_wanted(draws: Draws, truth: Reference, at_once: int, rounding: Rounding) -> int:
    """Return how many more draws it takes to see a bias of a tenth, as far as they are cheap; 0 if none is of use.

    Args:
        draws: those there are.
        truth: the reference.
        at_once: how many the candidate takes in one call.
        rounding: of the candidate.
    """
    noise, norm = noise_of(draws, truth, rounding), math.sqrt(max(truth.squared_norm, 0.0))
    distance = float((draws.mean - truth.gradient).square().sum())
    significant = distance > noise.rounding and noise.significance(distance) >= SIGNIFICANT
    ratio = smallest_bias(noise) / (SEEN * norm) if norm else 0.0
    if significant or ratio <= 1 or 2 * float(truth.variance.sum()) > noise.measured:
        return 0
    most = min(_MOST_DRAWS, _MOST_NUMBERS // draws.mean.numel(), _MOST_CALLS * at_once)
    return max(min(math.ceil(1.1 * draws.count * ratio**2), most) - draws.count, 0)


def _unseen(draws: Draws, truth: Reference) -> Tensor:
    """Variance of the mean that rare events may add, each coordinate.

    What happens k times in a run may well have happened three times more. For k above 0 that is 3 / k of the variance
    seen. For none it is what a coordinate would have that is moved three times in the run, and right on average.
    """
    seen = draws.groups.var(0) / len(draws.groups)
    never = truth.gradient.square() / 3
    return torch.where(draws.moved > 0, seen * 3 / draws.moved.clamp(min=1), never).flatten()


def squared(groups: Tensor) -> Tensor:
    """Return the squared norm of an expectation, by products of different groups: no group's noise meets itself."""
    g = len(groups)
    return (groups.sum(0).square().sum() - groups.square().sum()) / (g * (g - 1))


def error_of_squared(groups: Tensor) -> float:
    """Return the standard error of ``squared`` where the expectation is zero."""
    g = len(groups)
    return math.sqrt(2 * float(_trace_of_square(groups)) / (g * (g - 1)))


def _trace_of_square(groups: Tensor) -> Tensor:
    """Trace of the squared covariance of a group: how much products of different groups vary."""
    centerd = groups - groups.mean(0)
    g = len(groups)
    products = (centerd @ centerd.T)[~torch.eye(g, dtype=torch.bool, device=groups.device)]
    # Taking the mean off makes each product smaller by 1 - 1 / g, and leaves all with a mean of -trace / g.
    return products.var(correction=0) / (1 - 1 / g) ** 2
