"""The gradient of a smoothed objective, as exactly as it can be had: the truth that candidates are held against.

Three ways, none of which asks for a derivative of the user's function:

- enumeration of all outcomes of a discrete distribution: exact;
- a central finite difference of the smoothed function with common random numbers: the same noise at both ends, so that
  what is left of it in the difference is little; five points, so that what is left of the step is less;
- a long run of the score function with a leave-one-out baseline, less what a linear function makes of its noise, whose
  expectation is known: unbiased.

The last two are tried for a little, and the one with the smaller standard error runs on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hardgrad.doctor.function import FunctionError
from hardgrad.doctor.pace import Pace
from hardgrad.doctor.randomness import seed_of, seeded
from hardgrad.doctor.sampled import FIVE_POINTS, difference, score
from hardgrad.doctor.smoothed import LARGEST, Smoothed
from hardgrad.montecarlo._exact import count_outcomes, exact
from hardgrad.montecarlo.discrete import KINDS, discrete

TruthKind = Literal["enumeration", "finite difference", "long run"]
KINDS_OF_TRUTH = ("auto", "enumeration", "finite difference", "long run")

GROUPS = 20  # independent parts of every measurement, from which its standard error follows
MOST_STATES = 4096
_PILOT = 2000  # evaluations of each row by which the two ways are compared
_PILOT_SHARE = 0.1  # of the time that the truth has, for each part of a pilot
_NOTHING = 1e-12  # of the largest value: the rounding of an enumeration in double precision, and more
_ENOUGH = 0.01  # relative standard error at which the run stops


@dataclass(frozen=True)
class Reference:
    """The truth, in independent parts.

    Args:
        kind: how it was found.
        groups: independent estimates whose mean is the truth, double precision, shape ``(GROUPS, *x.shape)``; all equal
            where it is exact.
        exact: whether it has no noise.
        evaluations: of the function, of each row.
        stopped: what the function raised before the truth was as sharp as asked for; None if it did not.
    """

    kind: TruthKind
    groups: Tensor
    exact: bool
    evaluations: int
    stopped: str | None = None

    @property
    def gradient(self) -> Tensor:
        return self.groups.mean(0)

    @property
    def variance(self) -> Tensor:
        """Of ``gradient``, each coordinate."""
        return torch.zeros_like(self.groups[0]) if self.exact else self.groups.var(0) / len(self.groups)

    @property
    def squared_norm(self) -> float:
        """Of the gradient, with what its noise adds taken off; below 0 where that is all there is."""
        return float(self.gradient.square().sum() - self.variance.sum())


def find_truth(smoothed: Smoothed, wanted: str, budget: int, master: int, pace: Pace | None = None) -> Reference:
    """Return the truth of a smoothed objective.

    Args:
        smoothed: the objective.
        wanted: "auto", or one of the three ways.
        budget: the most evaluations of the function for each row.
        master: the diagnosis's seed.
        pace: the clock, which may leave less than the budget.

    Raises:
        ValueError: if the way asked for is not open.
    """
    pace, seed = pace or Pace(), seed_of(master, "truth")
    pace.begin()
    if wanted not in KINDS_OF_TRUTH:
        raise ValueError(
            f"diagnose: truth must be one of {', '.join(map(repr, KINDS_OF_TRUTH))}, got {wanted!r}; 'auto' fits any"
        )
    states = enumerable(smoothed, wanted)
    if wanted == "enumeration" and not states:
        raise ValueError(
            "diagnose: truth='enumeration' needs a discrete distribution; use 'finite difference' or 'long run'"
        )
    if wanted == "enumeration" or 0 < states <= pace.affordable(smoothed.call_time.per_copy):
        return _enumerated(smoothed, states)
    if wanted == "finite difference" and not smoothed.of_noise:
        raise ValueError("diagnose: truth='finite difference' needs samples made of noise, got subsets; use 'long run'")
    if wanted == "finite difference":
        return _sampled(smoothed, "finite difference", budget, seed, pace)
    if wanted == "long run":
        return _sampled(smoothed, "long run", budget, seed, pace)
    return _sampled(smoothed, _less_noisy(smoothed, budget, master, pace), budget, seed, pace)


def enumerable(smoothed: Smoothed, wanted: str) -> int:
    """Return how many joint outcomes of a row to go through; 0 for none, or for too many unless they are asked for."""
    q = smoothed.distribution(smoothed.x)
    base = q
    while isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    if wanted not in ("auto", "enumeration") or type(base) not in KINDS.values():
        return 0
    states = count_outcomes(discrete(q, "diagnose"))
    few = states <= MOST_STATES and states * smoothed.x.numel() <= 8 * LARGEST
    return states if few or wanted == "enumeration" else 0


def _enumerated(smoothed: Smoothed, states: int) -> Reference:
    largest = 0.0

    def f(b: Tensor) -> Tensor:
        nonlocal largest
        values = smoothed.values(b).double()
        largest = max(largest, float(values.detach().abs().max()))
        return values

    # The probabilities in double precision: those of single sum to 1 but for a ten-millionth, which times a large f
    # would be a gradient.
    with torch.enable_grad():
        x = smoothed.x.to(torch.float64, copy=True).requires_grad_()
        value = exact(smoothed.distribution(x), f, max_states=max(states, 1))
        (gradient,) = torch.autograd.grad(value.sum(), x)
    if float(gradient.norm()) < _NOTHING * largest:
        gradient = torch.zeros_like(gradient)
    return Reference("enumeration", gradient.expand(GROUPS, *gradient.shape), True, states)


def _less_noisy(smoothed: Smoothed, budget: int, master: int, pace: Pace) -> TruthKind:
    """Which of the two sampling ways has the smaller standard error at equal cost."""
    if not smoothed.of_noise or _samples_for("finite difference", smoothed, budget) < 1:
        return "long run"  # no noise to move, or too many coordinates to move one by one
    trial = int(min(2 * _PILOT, _affordable("finite difference", smoothed, pace, _PILOT_SHARE)))
    if _samples_for("finite difference", smoothed, trial) < 1:
        return "long run"  # no time to try
    pilot: list[tuple[float, TruthKind]] = []
    for kind in _WAYS:
        one = _sampled(smoothed, kind, trial, seed_of(master, f"pilot of {kind}"), Pace())
        # All zeros is no precision: what happens rarely has not happened yet.
        noise = float(one.variance.sum()) if bool(one.groups.any()) else math.inf
        pilot.append((noise * one.evaluations, kind))
    return min(pilot, key=lambda pair: pair[0])[1]


_LEAST = {"finite difference": 1, "long run": 2}  # samples of one group: leave-one-out needs another
_WAYS: tuple[TruthKind, TruthKind] = ("long run", "finite difference")


def _sampled(smoothed: Smoothed, kind: TruthKind, budget: int, seed: int, pace: Pace) -> Reference:
    """Run one way until it is precise enough or the budget or the time is spent, doubling as it goes; once at least."""
    start = pace.now()
    reference = _part(smoothed, kind, int(min(_PILOT, budget, _affordable(kind, smoothed, pace))), seed, None)
    seconds_each, rounds = (pace.now() - start) / reference.evaluations, 0
    while not _is_enough(reference):
        pace.reached(reference.evaluations / budget)
        wanted = min(reference.evaluations, budget - reference.evaluations)
        left = int(min(wanted, pace.affordable(seconds_each)))
        if _samples_for(kind, smoothed, left) < _LEAST[kind]:
            if left < wanted:
                pace.cuts.append(f"the truth: {reference.evaluations:,} of {budget:,} evaluations a row")
            break
        rounds += 1
        start = pace.now()
        try:
            more = _part(smoothed, kind, left, seed_of(seed, str(rounds)), reference)
        except FunctionError as error:  # what there is, is a truth; how sharp, its standard error says
            return replace(reference, stopped=str(error))
        seconds_each = (pace.now() - start) / more.evaluations
        reference = _together(reference, more)
    return reference


def _together(reference: Reference, more: Reference) -> Reference:
    # By their cost, not their variance: a part that happened to miss a rare event would weigh too much.
    share = reference.evaluations / (reference.evaluations + more.evaluations)
    groups = share * reference.groups + (1 - share) * more.groups
    return Reference(reference.kind, groups, False, reference.evaluations + more.evaluations)


def _affordable(kind: TruthKind, smoothed: Smoothed, pace: Pace, share: float = 1.0) -> float:
    """How many evaluations of each row fit into a share of the time for the truth, one part of all groups."""
    taken, calls = smoothed.call_time, GROUPS * (2 * len(FIVE_POINTS) if kind == "finite difference" else 1)
    return pace.affordable(taken.per_copy, share, calls * taken.call)


def _is_enough(reference: Reference) -> bool:
    return float(reference.variance.sum()) < _ENOUGH**2 * max(reference.squared_norm, 0)


def _samples_for(kind: str, smoothed: Smoothed, evaluations: int) -> int:
    """How many noise samples of one group the evaluations of a row pay for."""
    return evaluations // (_evaluations_each(kind, smoothed) * GROUPS)


def _evaluations_each(kind: str, smoothed: Smoothed) -> int:
    return 2 * len(FIVE_POINTS) * smoothed.coordinates if kind == "finite difference" else 1


def _part(smoothed: Smoothed, kind: TruthKind, evaluations: int, seed: int, so_far: Reference | None) -> Reference:
    """All groups of one round, of fresh noise."""
    samples = max(_samples_for(kind, smoothed, evaluations), _LEAST[kind])
    slope = None if so_far is None or kind == "finite difference" else _slope(smoothed, so_far)
    groups = []
    for number in range(GROUPS):
        with seeded(seed_of(seed, str(number)), smoothed.x.device) as generator:
            if kind == "finite difference":
                groups.append(difference(smoothed, samples, generator))
            else:
                groups.append(score(smoothed, samples, slope, generator))
    return Reference(kind, torch.stack(groups), False, samples * _evaluations_each(kind, smoothed) * GROUPS)


def _slope(smoothed: Smoothed, reference: Reference) -> Tensor:
    """The gradient so far, as far as it is not noise, for ``score`` to lean on."""
    gradient = reference.gradient
    signal = max(1 - float(reference.variance.sum()) / max(float(gradient.square().sum()), 1e-300), 0.0)
    return (signal * gradient).to(smoothed.x.dtype)
