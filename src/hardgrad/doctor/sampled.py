"""The two ways to the gradient of a smoothed objective by sampling, each for one group of noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad.doctor.smoothed import LARGEST, Smoothed
from hardgrad.montecarlo._score_function import score_function
from hardgrad.montecarlo.objective import Objective

# Five points at a step of 0.2 sigma leave h^4 / 30 of the fifth derivative: 2e-4 of the gradient where a Gaussian blurs
# a step, 2e-3 three sigma away from it. A smaller step is noisier: a jump is met less often, and weighs more.
_STEP = 0.2
FIVE_POINTS = ((1, 8 / 12), (2, -1 / 12))  # and their mirror images, weighed by the opposite
# A slope is divided by how much a sample's mean moves with x; less than this much is mostly noise.
_STIFFEST = 0.05


@torch.no_grad()
def difference(smoothed: Smoothed, samples: int, generator: torch.Generator) -> Tensor:
    """Return a central finite difference of the mean of the function over some noise, the same at every point.

    Args:
        smoothed: the objective.
        samples: how many of the noise.
        generator: source of the noise.

    Returns:
        Shape of x, double precision.
    """
    z = smoothed.x + smoothed.noise(samples, generator)
    batch_ndim = len(smoothed.batch_shape)
    step = _STEP * smoothed.sigma
    unit = torch.eye(smoothed.coordinates, dtype=z.dtype, device=z.device).reshape(
        smoothed.coordinates, *(1 for _ in range(batch_ndim)), *smoothed.x.shape[batch_ndim:]
    )
    slopes = []
    for some in unit.split(max(LARGEST // max(z.numel(), 1), 1)):
        slope = torch.zeros((), dtype=torch.float64, device=z.device)
        for place, weight in FIVE_POINTS:
            move = (place * step * some).unsqueeze(1)  # (some, 1, *x.shape)
            ahead, behind = (smoothed.values(smoothed.sample(z + m)).double() for m in (move, -move))
            slope = slope + weight * (ahead - behind).mean(1)
        slopes.append(slope)
    slope = torch.cat(slopes).movedim(0, -1).reshape(smoothed.x.shape)
    return slope / torch.as_tensor(step, dtype=torch.float64, device=z.device)


def score(smoothed: Smoothed, samples: int, slope: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return the score function's gradient with a leave-one-out baseline.

    Args:
        smoothed: the objective.
        samples: of the noise, at least 2.
        slope: a guess of the gradient. What a linear function of that slope makes of the noise is taken out, and its
            gradient, which is known, put in: any guess is right on average, and a good one leaves little noise.
        generator: source of the noise.

    Returns:
        Shape of x, double precision.
    """
    total = torch.zeros_like(smoothed.x, dtype=torch.float64)
    # A sample is compared with the others of its chunk, hence never a chunk of one.
    chunks = max(min(math.ceil(samples * smoothed.x.numel() / LARGEST), samples // 2), 1)
    lean = None if slope is None else _lean(smoothed, slope)
    for number in range(chunks):
        size = samples // chunks + (number < samples % chunks)
        total += size / samples * _score(smoothed, size, lean, generator)
    return total


def _score(smoothed: Smoothed, samples: int, lean: Tensor | None, generator: torch.Generator) -> Tensor:
    with torch.enable_grad():
        x = smoothed.x.clone().requires_grad_()
        q = smoothed.distribution(x)
        f: Objective = smoothed.values if lean is None else _leaning(smoothed, lean, q.mean.detach())
        value = score_function(q, f, samples=samples, baseline="leave_one_out", generator=generator).sum()
        known = 0 if lean is None else (lean * q.mean).sum()
        (gradient,) = torch.autograd.grad(value + known, x)
    return gradient.double()


def _leaning(smoothed: Smoothed, lean: Tensor, center: Tensor) -> Objective:
    """The function less a linear one."""
    inner = tuple(range(len(smoothed.batch_shape) - smoothed.x.ndim, 0))

    def f(b: Tensor) -> Tensor:
        line = lean * (b - center)
        return smoothed.values(b) - (line.sum(inner) if inner else line)

    return f


def _lean(smoothed: Smoothed, slope: Tensor) -> Tensor | None:
    """The linear function of a sample whose expectation has about the slope: the slope over d mean / d x."""
    if smoothed.event_shape != smoothed.x.shape[len(smoothed.batch_shape) :]:
        return None  # a Categorical, whose samples are outcome numbers
    if smoothed.noise_kind == "gaussian":
        return slope
    mean = smoothed.distribution(smoothed.x).mean
    moved = mean if smoothed.noise_kind == "gumbel" else mean * (1 - mean)
    return slope * smoothed.sigma / moved.clamp(min=_STIFFEST)
