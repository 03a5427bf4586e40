"""What biased estimators estimate, by their published formulas: sums over outcomes, or torch's own relaxed samplers.

A formula returns the expected gradient with respect to q's parameter and its standard error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import RelaxedBernoulli, RelaxedOneHotCategorical

import hardgrad as hg
from mc_bank import Variable

DRAWS = 20_000


@dataclass(frozen=True)
class Setting:
    """An objective of one layer behind q.

    Args:
        variable: q's kind.
        parameter: q's, of one row.
        outcomes: every sample and its probability.
        f: of samples ``(rows, *event)``, plain autograd.
        call: the estimator under test, for what it owns.
    """

    variable: Variable
    parameter: Tensor
    outcomes: list[tuple[Tensor, Tensor]]
    f: Callable[[Tensor], Tensor]
    call: Callable[..., Tensor]

    def slope(self, b: Tensor) -> Tensor:
        """The gradient of f at samples, their shape."""
        leaf = b.detach().clone().requires_grad_()
        return torch.autograd.grad(self.f(leaf).sum(), leaf)[0]

    @property
    def probs(self) -> Tensor:
        if self.variable.kind == "Bernoulli":
            return self.parameter if self.variable.given == "probs" else self.parameter.sigmoid()
        if self.variable.kind == "KSubset":
            return torch.stack([b * probability for b, probability in self.outcomes]).sum(0)
        total = self.parameter.sum(-1, keepdim=True)
        return self.parameter / total if self.variable.given == "probs" else self.parameter.softmax(-1)

    @property
    def logits(self) -> Tensor:
        if self.variable.kind == "Bernoulli":
            return self.probs.log() - (1 - self.probs).log()
        return self.parameter if self.variable.kind == "KSubset" else self.probs.log()


Expected = tuple[Tensor, Tensor | float]


def straight_through(setting: Setting) -> Expected:
    return _along(setting, lambda b: setting.probs)


def bridge(setting: Setting) -> Expected:
    approximator = setting.call.keywords["approximator"]
    return _along(setting, lambda b: approximator(setting.probs.unsqueeze(0)).squeeze(0))


def reinmax(setting: Setting, temperature: float = 1.0) -> Expected:
    """Algorithm 2 of Liu et al. 2023, line by line; a Bernoulli is a categorical of two."""
    theta, two = setting.logits, setting.variable.kind == "Bernoulli"
    if two:
        theta = torch.stack([theta, torch.zeros_like(theta)], -1)

    def path(b: Tensor) -> Tensor:
        d = torch.stack([b, 1 - b], -1) if two else b
        pi_0 = theta.softmax(-1)
        pi_1 = (d + (theta / temperature).softmax(-1)) / 2
        pi_1 = ((pi_1.log() - theta).detach() + theta).softmax(-1)
        pi_2 = 2 * pi_1 - pi_0 / 2
        return pi_2[..., 0] if two else pi_2

    return _along(setting, path)


def _along(setting: Setting, path: Callable[[Tensor], Tensor]) -> Expected:
    total = torch.zeros((), dtype=torch.float64)
    for b, probability in setting.outcomes:
        slope = setting.slope(b.unsqueeze(0)).squeeze(0)
        total = total + probability.detach() * (slope * path(b)).sum()
    return torch.autograd.grad(total, setting.parameter)[0], 0.0


def relaxed(temperature: float, backward: float | None = None) -> Callable[[Setting], Expected]:
    """The gradient of f at relaxed samples; with ``backward`` along the Jacobian of those at that temperature."""
    return partial(_sampled, temperature=temperature, hard=False, backward=backward)


def hardened(temperature: float) -> Callable[[Setting], Expected]:
    """The slope at hard samples times the Jacobian of relaxed ones."""
    return partial(_sampled, temperature=temperature, hard=True)


def gapped(gap: float, temperature: float) -> Callable[[Setting], Expected]:
    """Fan et al. 2022: the drawn outcome raised to the highest logit, then the others pushed down to the gap."""

    def formula(setting: Setting) -> Expected:
        theta, two = setting.logits, setting.variable.kind == "Bernoulli"
        if two:
            theta = torch.stack([theta, torch.zeros_like(theta)], -1)

        def path(b: Tensor) -> Tensor:
            d = torch.stack([b, 1 - b], -1) if two else b
            top = theta.max(-1, keepdim=True).values
            up = (top - (theta * d).sum(-1, keepdim=True)) * d
            down = (theta + gap - top).relu() * (1 - d)
            y = ((theta + (up - down).detach()) / temperature).softmax(-1)
            return y[..., 0] if two else y

        return _along(setting, path)

    return formula


def _sampled(setting: Setting, temperature: float, hard: bool, backward: float | None = None) -> Expected:
    variable = setting.variable
    parameter = setting.parameter.detach().expand((DRAWS, *setting.parameter.shape)).clone().requires_grad_()
    rows = Setting(variable, parameter, [], setting.f, setting.call)
    if variable.kind == "KSubset":
        return _sampled_subsets(setting, temperature)
    two = variable.kind == "Bernoulli"
    soft = (RelaxedBernoulli if two else RelaxedOneHotCategorical)(torch.tensor(temperature), logits=rows.logits)
    y = soft.rsample()
    b = (y > 0.5).double() if two else nn.functional.one_hot(y.argmax(-1), y.shape[-1]).double()
    path = y
    if backward is not None:  # the same scores, their ratios read off the sample
        scores = (y.logit() if two else y.log()) * (temperature / backward)
        path = scores.sigmoid() if two else scores.softmax(-1)
    (found,) = torch.autograd.grad((rows.slope(b if hard else y) * path).sum(), parameter)
    return found.mean(0), found.std(0) / DRAWS**0.5


def _sampled_subsets(setting: Setting, temperature: float) -> Expected:
    """By throwing away: of noisy scores, those that happen to have k above 0, in every group."""
    logits, k = setting.logits.detach(), setting.variable.k
    low, high = logits.new_full((*logits.shape[:-1], 1), -50), logits.new_full((*logits.shape[:-1], 1), 50)
    for _ in range(60):  # until k are expected to be
        middle = (low + high) / 2
        many = (logits + middle).sigmoid().sum(-1, keepdim=True) > k
        low, high = torch.where(many, low, middle), torch.where(many, middle, high)
    scores = logits + low + torch.rand(8 * DRAWS, *logits.shape, dtype=torch.float64).logit()
    right = ((scores > 0).sum(-1) == k).reshape(len(scores), -1).all(-1)
    scores = scores[right][:DRAWS].requires_grad_()
    y = hg.soft.top_k_mask(scores, k, temperature, relative=False)
    (found,) = torch.autograd.grad((setting.slope((scores > 0).double()) * y).sum(), scores)
    return found.mean(0), found.std(0) / len(found) ** 0.5
