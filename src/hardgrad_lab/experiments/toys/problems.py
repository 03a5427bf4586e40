"""The losses of the toys, where they start, and their expectations by enumeration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

import hardgrad as hg
from hardgrad_lab.experiments.toys.config import Toy


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A toy as functions of its logits, shape ``(*lead, rows, n)``; n is 1 for 0/1 variables.

    Args:
        start: the first logits, shape ``(rows, n)``.
        q: the distribution.
        f: the objective, to be made small.
        expectation: the loss of each row by enumeration, shape ``(*lead, rows)``.
        probabilities: of the outcomes, shape ``(*lead, rows, ways)``.
        best: which outcome is the best; None where a mixture is.
    """

    start: Tensor
    q: Callable[[Tensor], Distribution]
    f: Callable[[Tensor], hg.montecarlo.Objective]
    expectation: Callable[[Tensor], Tensor]
    probabilities: Callable[[Tensor], Tensor]
    best: int | None


def problem(toy: Toy) -> Problem:
    """Return the problem of a toy. Coins draw their start from torch's global seed."""
    return {"coin": _coin, "coins": _coins, "simplex": _simplex}[toy.problem](toy)


def _loss(toy: Toy) -> hg.montecarlo.Objective:
    sign = -1 if toy.maximize else 1
    return lambda b: sign * (b - toy.target).abs() ** toy.power


def _coin(toy: Toy) -> Problem:
    """One 0/1 variable in each row, at 1/2 to be trained, from 0.1 to 0.9 to be surveyed."""
    loss = _loss(toy)

    def q(logits: Tensor) -> Distribution:
        return Independent(Bernoulli(logits=logits), 1)

    def f(b: Tensor) -> Tensor:
        return loss(b).squeeze(-1)

    start = torch.full((toy.rows,), 0.5) if toy.steps else torch.linspace(0.1, 0.9, toy.rows)
    return Problem(
        start=start.logit().unsqueeze(-1),
        q=q,
        f=lambda logits: f,
        expectation=lambda logits: hg.exact(q(logits), f),
        probabilities=lambda logits: torch.cat([(-logits).sigmoid(), logits.sigmoid()], -1),
        best=int(loss(torch.tensor([0.0, 1.0])).argmin()),
    )


def _coins(toy: Toy) -> Problem:
    """Many two-way variables in one loss; the first of a variable's outcomes stands for 1, as in the program.

    The published loss is the mean over variables, this the sum, so that each row's gradient is that of its own loss.
    Adam does not see the factor.
    """
    loss = _loss(toy)

    def f(b: Tensor) -> Tensor:
        return loss(b[..., 0]).sum(-1)

    def expectation(logits: Tensor) -> Tensor:
        # Each variable by itself: 2 outcomes, and not 2 ** units.
        return hg.exact(OneHotCategorical(logits=logits), lambda b: loss(b[..., 0]))

    return Problem(
        start=torch.empty(toy.units, 2).uniform_(-0.01, 0.01),
        q=lambda logits: Independent(OneHotCategorical(logits=logits), 1),
        f=lambda logits: f,
        expectation=expectation,
        probabilities=lambda logits: logits.softmax(-1),
        best=int(loss(torch.tensor([1.0, 0.0])).argmin()),
    )


def _simplex(toy: Toy) -> Problem:
    """The quadratic programme (p - c)' Q (p - c), written as the expectation of a loss of one-hot samples.

    The published loss is (b - c)' A(p) (b - c) with a matrix A(p) that makes it so. A is held here when differentiated:
    what goes through it is the same for all estimators, and near A's poles it would hide them.
    """
    c = toy.target
    apart = (torch.arange(3).unsqueeze(0) - torch.arange(3).unsqueeze(1)).abs()
    quadratic = torch.exp(-2.0 * apart)

    def objective(logits: Tensor) -> hg.montecarlo.Objective:
        p = logits.detach().softmax(-1)
        off = p - c
        # E[(b_i - c)(b_j - c)], which A is to divide by.
        second = c * c - c * (p.unsqueeze(-1) + p.unsqueeze(-2)) + torch.diag_embed(p)
        matrix = off.unsqueeze(-1) * off.unsqueeze(-2) / second * quadratic
        return lambda b: torch.einsum("...i,...ij,...j->...", b - c, matrix, b - c)

    return Problem(
        start=_inside(toy.rows).log(),
        q=lambda logits: OneHotCategorical(logits=logits),
        f=objective,
        expectation=lambda logits: hg.exact(OneHotCategorical(logits=logits), objective(logits)),
        probabilities=lambda logits: logits.softmax(-1),
        best=None,
    )


def _inside(side: int) -> Tensor:
    """Points inside the simplex of three outcomes, ``side`` along each of its sides.

    They are a third of a step off the whole numbers: where a probability is 2/3 the published loss divides by zero,
    and none of them is there unless ``side`` leaves a remainder of 2 when divided by 3.
    """
    places = [(i, j, side - 1 - i - j) for i in range(side) for j in range(side - i)]
    return (torch.tensor(places) + 1 / 3) / side
