"""What a Monte Carlo gradient cannot do without, written out by hand: samples, evaluations of f, and its control's.

Each function returns the least that a program without the estimator would have to compute for one step, in as few
calls as can be.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

from hardgrad_lab.bench.race import Contender

KINDS = ("bernoulli", "one-hot")
OBJECTIVES = ("decoder", "cheap")
UNITS, WAYS, HIDDEN, PIXELS = 200, 10, 200, 784  # the autoencoder of Tucker et al. 2017 and after: 200 latents

Objective = Callable[[Tensor], Tensor]


class Case:
    """A distribution and an objective to differentiate.

    Args:
        kind: of ``KINDS``.
        objective: of ``OBJECTIVES``.
        batch: rows.
    """

    def __init__(self, kind: str, objective: str, batch: int) -> None:
        self.kind, self.batch = kind, batch
        shape = (batch, UNITS) if kind == "bernoulli" else (batch, UNITS // WAYS, WAYS)
        self.logits = torch.randn(shape).requires_grad_()
        self.f, self.parameters = _decoder(batch) if objective == "decoder" else _cheap()
        if kind == "one-hot":
            flat = self.f
            self.f = lambda b: flat(b.flatten(-2))

    def q(self) -> Distribution:
        """Return the distribution, built anew as in a training step."""
        if self.kind == "bernoulli":
            return Independent(Bernoulli(logits=self.logits), 1)
        return Independent(OneHotCategorical(logits=self.logits), 1)

    def forget(self) -> None:
        """Drop all gradients, which is not timed."""
        for t in (self.logits, *self.parameters):
            t.grad = None

    def draws(self, samples: int) -> Tensor:
        """Return hard samples as f sees them, the leading dimension left out for one; the fastest way found."""
        logits = self.logits.detach()
        u = torch.rand(samples, *logits.shape, device=logits.device)
        binary = self.kind == "bernoulli"
        b = (u < logits.sigmoid()).float() if binary else _one_hot(logits - (-u.log()).log())
        return b[0] if samples == 1 else b

    def scored(self) -> tuple[Tensor, Tensor]:
        """Return one hard sample and the scores that it is read off."""
        logits = self.logits.detach()
        u = torch.rand(logits.shape, device=logits.device)
        if self.kind == "bernoulli":
            z = logits + u.log() - (-u).log1p()
            return (z > 0).float(), z
        z = logits - (-u.log()).log()
        return _one_hot(z), z


def _one_hot(scores: Tensor) -> Tensor:
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1)


def _decoder(batch: int) -> tuple[Objective, list[Tensor]]:
    network = nn.Sequential(nn.Linear(UNITS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, PIXELS))
    image = (torch.rand(batch, PIXELS) < 0.3).float()

    def f(b: Tensor) -> Tensor:
        shown = network(b)
        return F.binary_cross_entropy_with_logits(shown, image.expand_as(shown), reduction="none").sum(-1)

    return f, list(network.parameters())


def _cheap() -> tuple[Objective, list[Tensor]]:
    weight = torch.randn(UNITS).requires_grad_()
    return lambda b: (b @ weight - 1).square(), [weight]


def one(case: Case) -> Contender:
    """One evaluation of f at a given sample, and a backward into its parameters and the sample."""
    b = case.draws(1)
    return Contender(lambda: case.f(b.detach().requires_grad_()).mean().backward(), before=case.forget)


def values(case: Case, samples: int) -> Contender:
    """Samples, f at them, and a backward into its parameters."""
    return Contender(lambda: case.f(case.draws(samples)).mean().backward(), before=case.forget)


def through(case: Case, samples: int = 1) -> Contender:
    """The same, and on into the samples."""
    return Contender(lambda: case.f(case.draws(samples).requires_grad_()).mean().backward(), before=case.forget)


def rebar(case: Case, learn: bool) -> Contender:
    """The loss at a hard sample and, with its gradient, at a relaxed one; that one's derivative in the temperature."""
    temperature = torch.tensor(0.5).requires_grad_(learn)

    def step() -> None:
        b, z = case.scored()
        case.f(b).mean().backward()
        leaf = z.requires_grad_()
        relaxed = leaf / temperature
        value = case.f(relaxed.sigmoid() if case.kind == "bernoulli" else relaxed.softmax(-1))
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=learn)
        if learn:
            torch.autograd.grad(slope.square().sum() + value.square().sum(), temperature)

    return Contender(step, before=case.forget)


def relax(case: Case, control: nn.Module) -> Contender:
    """The loss at a hard sample; the control with its slope at scores, and a backward of both into its weights."""

    def step() -> None:
        b, z = case.scored()
        case.f(b).mean().backward()
        leaf = z.requires_grad_()
        value = control(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        (slope.square().sum() + value.square().sum()).backward(inputs=list(control.parameters()))

    def forget() -> None:
        case.forget()
        control.zero_grad()

    return Contender(step, before=forget)
