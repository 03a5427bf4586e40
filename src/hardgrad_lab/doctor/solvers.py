"""Combinatorial solvers in a network: what they find for costs that were guessed, judged by the true ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations, permutations, product

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.doctor.case import Case, seeded, titled

ROWS = 16


def best_of(solutions: Tensor, *, largest: bool = False) -> Callable[[Tensor], Tensor]:
    """Return a solver: for costs (B, *) that of all ``solutions`` (m, *) whose sum of costs is the least."""
    flat = solutions.flatten(1)

    def solve(cost: Tensor) -> Tensor:
        total = cost.flatten(1) @ flat.mT.to(cost)
        return solutions.to(cost)[total.argmax(-1) if largest else total.argmin(-1)]

    return solve


def _guessed(name: str, about: str, solutions: Tensor, seed: int, *, largest: bool = False) -> Case:
    """Costs guessed with an error; the loss is by how much the solution is worse than the best, of the true costs."""
    generator, solve = seeded(seed), best_of(solutions, largest=largest)
    true = torch.rand(ROWS, *solutions.shape[1:], generator=generator)
    best = (solve(true) * true).flatten(1).sum(-1)

    def loss(solution: Tensor) -> Tensor:
        found = (solution * true).flatten(-true.ndim + 1).sum(-1)
        return best - found if largest else found - best

    guess = true + 0.3 * torch.randn(true.shape, generator=generator)
    return titled(name, f"{about}; how much worse it is than the best, by the true numbers.", solve, guess, loss)


def grid_path() -> Case:
    """The shortest of the twenty ways right and down through a grid."""
    paths = torch.zeros(20, 4, 4)
    for path, rights in zip(paths, combinations(range(6), 3), strict=True):
        row, column = 0, 0
        path[0, 0] = 1
        for step in range(6):
            row, column = (row, column + 1) if step in rights else (row + 1, column)
            path[row, column] = 1
    return _guessed("grid-path", "The cheapest way through a grid of 4 x 4 guessed prices", paths, 31)


def assignment() -> Case:
    """Four jobs to four machines."""
    return _guessed("assignment", "Four jobs to four machines, by guessed costs", _orders(4), 32)


def knapsack() -> Case:
    """What of eight things is taken along."""
    weight = torch.rand(8, generator=seeded(33)) + 0.2
    subsets = torch.tensor(list(product([0.0, 1.0], repeat=8)))
    fits = subsets[subsets @ weight <= weight.sum() / 2]
    return _guessed("knapsack", "What fits of eight things, by guessed values", fits, 34, largest=True)


def matching() -> Case:
    """Four points and the four they are nearest to, one each; what is read there is judged."""
    generator = seeded(35)
    places, colors = torch.randn(4, 2, generator=generator), torch.randn(4, 3, generator=generator)
    solve, turn = best_of(_orders(4)), torch.stack([torch.randperm(4, generator=generator) for _ in range(ROWS)])

    def loss(pairs: Tensor) -> Tensor:
        return (pairs @ colors - colors[turn]).square().mean((-2, -1))

    def distances(x: Tensor) -> Tensor:
        return (x.unsqueeze(-2) - places.to(x)).square().sum(-1)

    def matched(x: Tensor) -> Tensor:
        return solve(distances(x))

    layers = {
        "negative_identity, inside": hg.straight_through(solve, hg.surrogate.twins.negative_identity("mean")),
        "interpolated, inside": hg.interpolated(solve, 2.0),
        "perturbed, inside": hg.perturbed(solve, 1.0, samples=8),
        "imle, inside": hg.imle(solve, scale=1.0, noise="normal"),
    }
    case = titled(
        "matching", "Four points matched to four places, least squared distance; the error of the colors read there.",
        matched, places[turn] + torch.randn(ROWS, 4, 2, generator=generator), loss,
    )  # fmt: skip
    return replace(case, extra={name: partial(_composed, layer, distances) for name, layer in layers.items()})


def _composed(outer: Callable[[Tensor], Tensor], inner: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return outer(inner(x))


def _orders(n: int) -> Tensor:
    """All permutation matrices."""
    return torch.stack([torch.eye(n)[list(order)] for order in permutations(range(n))])
