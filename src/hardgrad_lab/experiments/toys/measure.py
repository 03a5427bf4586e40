"""What a gradient is worth at given logits: its variance, its bias and its direction, against enumeration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad_lab.experiments.toys.contestants import Contestant
from hardgrad_lab.experiments.toys.problems import Problem

FLOOR = 1e-12  # of a variance, before its logarithm: a saturated variable has none left
ROUNDING = 1e-7  # of a gradient in single precision whose loss is about 1/4
RARE = 20  # draws of the rarer outcome that a mean needs before its standard error says something


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Gradients drawn at one place, row by row.

    Args:
        exact: by enumeration, shape ``(rows, n)``.
        drawn: shape ``(draws, rows, n)``.
        rarest: probability of the least likely outcome, shape ``(rows,)``.
    """

    exact: Tensor
    drawn: Tensor
    rarest: Tensor

    @property
    def told(self) -> Tensor:
        """Which rows are far enough from certain for the draws to say something, shape ``(rows,)``."""
        return self.rarest * len(self.drawn) >= RARE

    @property
    def variance(self) -> Tensor:
        """The trace of each row's covariance."""
        return self.drawn.var(0).sum(-1)

    @property
    def bias_in_errors(self) -> Tensor:
        """Each row's distance of the mean from the truth, in standard errors of it; about 1 where there is no bias."""
        error = (self.variance / len(self.drawn)).sqrt() + ROUNDING
        distance: Tensor = torch.linalg.vector_norm(self.drawn.mean(0) - self.exact, dim=-1)
        return distance / error

    @property
    def cosine(self) -> Tensor:
        """Each row's mean cosine of one draw with the truth; a draw of zero counts as 0."""
        sizes = torch.linalg.vector_norm(self.drawn, dim=-1) * torch.linalg.vector_norm(self.exact, dim=-1)
        along = (self.drawn * self.exact).sum(-1)
        return torch.where(sizes > 0, along / sizes.clamp(min=1e-300), 0).mean(0)


def draw_gradients(
    contestant: Contestant, problem: Problem, logits: Tensor, draws: int, generator: torch.Generator
) -> Gradients:
    """Return gradients of independent estimates at the same logits; nothing learns from them.

    Args:
        contestant: the estimator.
        problem: what it estimates.
        logits: where, shape ``(rows, n)``.
        draws: how many.
        generator: source of their randomness, apart from the training's.
    """
    leaf = logits.detach().expand(draws, *logits.shape).clone().requires_grad_()
    contestant.eval()  # a moving average stands still
    values = contestant(problem.q(leaf), problem.f(leaf), generator)
    (drawn,) = torch.autograd.grad(values.sum(), leaf)
    contestant.train()
    at = logits.detach().clone().requires_grad_()
    (exact,) = torch.autograd.grad(problem.expectation(at).sum(), at)
    rarest = problem.probabilities(logits.detach()).min(-1).values
    # Double: the mean of many draws differs little from the truth.
    return Gradients(exact=exact.double(), drawn=drawn.double(), rarest=rarest)


def summary(gradients: Gradients) -> dict[str, float]:
    """Return the mean over rows of what a gradient is worth; NaN where all rows are near certain."""
    told = gradients.told
    return {
        "log_variance": gradients.variance.clamp(min=FLOOR).log().mean().item(),
        "bias_in_errors": gradients.bias_in_errors[told].square().mean().sqrt().item(),
        "cosine": gradients.cosine[told].mean().item(),
    }
