"""What lends the signum its gradient, and the optimizer by which approximators learn in their different ways."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.bridges.approximators import Study

SIGMA = 0.3  # of the noise that blurs the signum whose gradient counts as the true one
GAMMA = 10.0
_LAYERS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "elu": nn.ELU, "relu": nn.ReLU, "gelu": nn.GELU}


def blurred(x: Tensor, margin: float) -> Tensor:
    """Return what the signum is on average under normal noise of ``SIGMA``."""
    above, below = (torch.erf((x + move) / (SIGMA * math.sqrt(2))) for move in (margin, -margin))
    return (above + below) / 2


SOFT: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh-1": torch.tanh,
    "tanh-2": lambda x: torch.tanh(2 * x),
    "tanh-4": lambda x: torch.tanh(4 * x),
    "arctan": lambda x: torch.atan(math.pi * x) * (2 / math.pi),
    "clipped": hg.surrogate.twins.clipped(),
}


class Principal(nn.Module):
    """The projection on the directions in which rows vary most: a gradient is kept to where features go together.

    Args:
        features: of a row.
        directions: how many are kept.
    """

    covariance: Tensor
    basis: Tensor
    steps: Tensor

    def __init__(self, features: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("covariance", torch.zeros(features, features))
        self.register_buffer("basis", torch.eye(features)[:, :directions])
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.basis @ self.basis.T

    @torch.no_grad()
    def follow(self, rows: Tensor) -> None:
        """Average the covariance of rows over a hundred steps, and find its directions anew every twenty."""
        steps = int(self.steps.add_(1))
        self.covariance.lerp_(rows.T.cov(correction=0), max(1 / steps, 0.01))
        if steps <= 20 or steps % 20 == 0:
            self.basis.copy_(torch.linalg.eigh(self.covariance)[1][:, -self.basis.shape[1] :])


class Beside(nn.ModuleList):
    """The identity, and what a network adds to it."""

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self[0](x))


def signum(trial: Study, features: int) -> nn.Module:
    """Return the hard layer over so many features, with what a study asks to lend it a gradient."""
    hard = partial(hg.hard.sign, margin=trial.margin)
    soft: dict[str, Callable[[Tensor], Tensor]] = {**SOFT, "exact": partial(blurred, margin=trial.margin)}
    if trial.lender in soft:
        return hg.straight_through(hard, soft=soft[trial.lender])
    if trial.lender == "principal":
        return hg.straight_through(hard, soft=Principal(features, trial.hidden[0]))
    if trial.lender == "elementwise":
        width, layers = trial.hidden[0], len(trial.hidden)
        network = hg.approximators.elementwise(width, layers=layers, activation=_LAYERS[trial.activation])
    else:
        network = hg.approximators.mlp(features, features, hidden=trial.hidden, activation=_LAYERS[trial.activation])
    bridge = hg.Bridge(hard, Beside([network]) if trial.lender == "skip" else network, weight=GAMMA)
    if trial.memory:
        bridge.learner = copy.deepcopy(bridge.approximator)  # what is lent follows it
        bridge.approximator.requires_grad_(False)
    return bridge


def lent(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the function whose derivative a hard layer lends."""
    return cast("Callable[[Tensor], Tensor]", layer.approximator if isinstance(layer, hg.Bridge) else layer.soft)


def learner(bridge: hg.Bridge) -> nn.Module:
    """Return the network that learns to imitate: what is lent, or what it follows."""
    return cast(nn.Module, getattr(bridge, "learner", bridge.approximator))


class Lessons(torch.optim.Adam):
    """Adam for the approximators of bridges, which learn more often, from noisy rows, on average or for a while."""

    def __init__(self, bridges: Sequence[hg.Bridge], trial: Study) -> None:
        self.bridges, self.trial = bridges, trial
        self.rows: dict[hg.Bridge, Tensor] = {}
        super().__init__([p for bridge in bridges for p in learner(bridge).parameters()], lr=trial.bridge_lr)
        for bridge in bridges:
            bridge.register_forward_pre_hook(self._keep)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch overloads it
        """Take a step, or as many as are asked for, until it is late enough to take none."""
        trial, state = self.trial, cast("dict[str, Any]", next(iter(self.state.values()), {}))
        if float(state.get("step", 0)) >= trial.until * trial.steps * trial.lessons:
            return
        for lesson in range(trial.lessons):
            if lesson or trial.blur or trial.memory:
                self._ask()
            super().step(closure)
        for bridge in self.bridges if trial.memory else ():
            for old, new in zip(bridge.approximator.parameters(), learner(bridge).parameters(), strict=True):
                old.lerp_(new.detach(), 1 - trial.memory)

    def _keep(self, bridge: hg.Bridge, given: tuple[Tensor, ...]) -> None:
        self.rows[bridge] = given[0].detach()

    def _ask(self) -> None:
        """Give the weights the gradient of the penalty at the rows of this step, with noise where it is asked for."""
        for bridge, rows in self.rows.items():
            x = rows + self.trial.blur * rows.std() * torch.randn_like(rows) if self.trial.blur else rows
            weights = list(learner(bridge).parameters())
            penalty = GAMMA / len(x) * (learner(bridge)(x) - bridge.hard(x)).square().sum()
            for weight, gradient in zip(weights, torch.autograd.grad(penalty, weights), strict=True):
                weight.grad = gradient
