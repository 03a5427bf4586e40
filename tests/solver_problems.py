"""Small problems whose solutions are all listed, and what noise of their costs does to them, found without a solver.

Of each coordinate in turn the noise is integrated by hand: with all other costs fixed a solution has it or has it not,
and changes at one threshold. So means come from the noise's distribution function and slopes from its density, with no
score and no difference; the noise of the others is drawn.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

DOUBLE = torch.float64


@dataclass(frozen=True)
class Problem:
    """Solutions ``(m, n)`` of zeros and ones, the shape of one, what is wanted; a cost and a gradient to look at."""

    name: str
    solutions: Tensor
    shape: tuple[int, ...]
    sense: str
    cost: Tensor
    v: Tensor

    @property
    def sign(self) -> float:
        return 1.0 if self.sense == "min" else -1.0

    def __call__(self, cost: Tensor) -> Tensor:
        """The solver: of costs ``(batch, *shape)``, the best of the list."""
        value = self.sign * cost.flatten(1) @ self.solutions.to(cost).t()
        return self.solutions.to(cost)[value.argmin(1)].reshape(cost.shape)

    def __str__(self) -> str:
        return self.name


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def knapsack() -> Problem:
    """8 things of these weights, 15 of which can be carried; the most valuable load."""
    weights = torch.tensor([3, 7, 2, 9, 4, 5, 6, 1], dtype=DOUBLE)
    every = torch.tensor([*itertools.product((0.0, 1.0), repeat=8)], dtype=DOUBLE)
    return Problem("knapsack", every[every @ weights <= 15], (8,), "max", 1 + _random(1, 8).abs(), _random(2, 8))


def assignment() -> Problem:
    eye = torch.eye(3, dtype=DOUBLE)
    every = torch.stack([eye[list(order)].flatten() for order in itertools.permutations(range(3))])
    return Problem("assignment", every, (3, 3), "min", _random(3, 3, 3), _random(4, 3, 3))


def paths() -> Problem:
    """Edges 01, 02, 03, 12, 13, 23; the ways from node 0 to node 3."""
    every = torch.tensor([[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1], [1, 0, 0, 1, 0, 1]], dtype=DOUBLE)
    cost = torch.tensor([1.0, 1.8, 3.0, 0.5, 1.9, 1.2], dtype=DOUBLE)
    return Problem("paths", every, (6,), "min", cost, _random(5, 6))


PROBLEMS = [knapsack(), assignment(), paths()]


def _noisy(problem: Problem, cost: Tensor, scale: float, noise: str, seed: int, samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if noise == "normal":
        e = torch.randn(samples, cost.numel(), generator=generator, dtype=DOUBLE)
    else:
        e = -(-torch.rand(samples, cost.numel(), generator=generator, dtype=DOUBLE).log()).log()
    return cost.flatten() - problem.sign * scale * e


def _threshold(problem: Problem, costs: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """The cost of i at which solutions change, and the best with it and without it."""
    rest = costs.clone()
    rest[:, i] = 0
    value = problem.sign * rest @ problem.solutions.t()
    has = problem.solutions[:, i] == 1
    inside, outside = value[:, has].min(1), value[:, ~has].min(1)
    threshold = problem.sign * (outside.values - inside.values)
    return threshold, problem.solutions[has][inside.indices], problem.solutions[~has][outside.indices]


def smoothed_gradient(
    problem: Problem, scale: float, noise: str = "normal", seed: int = 100, samples: int = 6_000
) -> tuple[Tensor, Tensor]:
    """The gradient of ``E <v, y(c with noise)>`` and its standard error."""
    cost, v = problem.cost.flatten(), problem.v.flatten()
    costs = _noisy(problem, problem.cost, scale, noise, seed, samples)
    means, errors = [], []
    for i in range(len(cost)):
        threshold, inside, outside = _threshold(problem, costs, i)
        z = problem.sign * (cost[i] - threshold) / scale
        density = (-z.square() / 2).exp() / (2 * torch.pi) ** 0.5 if noise == "normal" else (-z - (-z).exp()).exp()
        slope = problem.sign * (outside - inside) @ v * density / scale
        means.append(slope.mean())
        errors.append(slope.std() / samples**0.5)
    return torch.stack(means).reshape(problem.shape), torch.stack(errors).reshape(problem.shape)


def mean_solutions(
    problem: Problem, cost: Tensor, scale: float, noise: str = "normal", seed: int = 100, samples: int = 6_000
) -> Tensor:
    """Estimates ``(samples, *shape)`` of the mean solution with noise; of one seed they belong together."""
    costs = _noisy(problem, cost, scale, noise, seed, samples)
    each = []
    for i, own in enumerate(cost.flatten()):
        threshold, _, _ = _threshold(problem, costs, i)
        z = problem.sign * (own - threshold) / scale  # i is in where its noise is above
        each.append(torch.special.ndtr(-z) if noise == "normal" else 1 - (-(-z).exp()).exp())
    return torch.stack(each, 1).reshape(samples, *problem.shape)
