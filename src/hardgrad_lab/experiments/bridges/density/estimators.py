"""The contestants of the density model: each a Monte Carlo gradient, with what it learns besides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import hardgrad as hg
from hardgrad_lab.experiments.bridges.density import Density
from hardgrad_lab.experiments.bridges.density.second_order import (
    Averaged,
    Function,
    HalfWay,
    ImitatingControl,
    Noise,
    OverBits,
    ReinmaxPairs,
)

CONTROL_UNITS = 50  # of the hidden layer of RELAX's network; ours
FITTING_LR, FITTING_ROWS = 1e-2, 50
LEAST = 1e-4  # probabilities nearer to 0 or 1 have no KL that a step could follow


class Contestant(nn.Module):
    """An estimator ready to be called.

    Args:
        estimate: takes q and f.
        learns: what it trains, or a temperature that falls; kept so that an optimiser and a checkpoint find it.
    """

    def __init__(self, estimate: Callable[..., Tensor], learns: nn.Module | None = None) -> None:
        super().__init__()
        self.estimate, self.learns = estimate, learns

    def forward(self, q: Distribution, f: hg.montecarlo.Objective) -> Tensor:
        """Return the mean of f, (batch,), with the contestant's gradient; in training a temperature then falls."""
        value = self.estimate(q, f)
        if self.training and isinstance(self.learns, hg.montecarlo.Annealed):
            self.learns.step()
        return value

    def imitated(self, probabilities: Tensor) -> Tensor:
        """Return what a bridge's approximator makes of the probabilities; no gradient goes into its weights."""
        assert self.learns is not None  # a bridge has one
        weights = {name: weight.detach() for name, weight in self.learns.named_parameters()}
        seen: Tensor = torch.func.functional_call(self.learns, weights, (probabilities,))
        return seen.float().clamp(LEAST, 1 - LEAST)


def contestant(config: Density, steps: int) -> Contestant:
    """Return the estimator of a configuration. What it learns draws its start from torch's global seed.

    Args:
        config: names it and says how often f may be run.
        steps: of the run, over which a temperature falls.
    """
    n = config.evaluations
    plain: dict[str, Callable[..., Tensor]] = {
        "score-loo": partial(hg.score_function, samples=n, baseline="leave_one_out"),
        "disarm": partial(hg.disarm, samples=n),
        "arms": partial(hg.arms, samples=n),
        "reinmax": partial(hg.reinmax, samples=n),
        "straight-through": partial(hg.montecarlo.straight_through_estimator, samples=n),
    }
    if config.estimator in plain:
        return Contestant(plain[config.estimator])
    if config.estimator.startswith("reinmax-"):
        pairs = ReinmaxPairs(config.latents, n, control=config.estimator == "reinmax-control")
        # A gradient in the middle of the forward pass is none to torch.compile.
        return Contestant(cast(Callable[..., Tensor], torch.compiler.disable(pairs.forward)), pairs)
    build = {"bridge": _bridge, "rebar": _rebar, "relax": _relax, **dict.fromkeys(OVER_BITS, _over_bits)}
    return build.get(config.estimator, _gumbel)(config, steps)


def _approximator(config: Density) -> nn.Module:
    width = config.latents
    if config.approximator == "mlp":
        return hg.approximators.mlp(width, width, hidden=[max(1, width // 2)] * 2)
    return hg.approximators.elementwise(config.approximator_width, layers=1)


def fit(
    approximator: nn.Module, steps: int, latents: int, see: Function = Tensor.clone, hard: Function = hg.hard.bernoulli
) -> None:
    """Fit an approximator of drawing bits to draws at probabilities all over (0, 1), before anything else learns.

    Args:
        approximator: changed in place.
        steps: of Adam.
        latents: bits in a row.
        see: from probabilities to what the approximator is shown.
        hard: from that to what it imitates.
    """
    optimizer = torch.optim.Adam(approximator.parameters(), lr=FITTING_LR)
    for _ in range(steps):
        shown = see(torch.rand(FITTING_ROWS, latents))
        optimizer.zero_grad()
        (approximator(shown) - hard(shown)).square().mean().backward()
        optimizer.step()


def _bridge(config: Density, steps: int) -> Contestant:
    del steps
    approximator = _approximator(config)
    fit(approximator, config.fitting, config.latents)
    estimate = partial(
        hg.montecarlo.bridge_estimator, approximator=approximator, weight=config.gamma, samples=config.evaluations
    )
    return Contestant(estimate, approximator)


OVER_BITS: dict[str, type[OverBits]] = {
    "bridge-noise": Noise,
    "bridge-half-way": HalfWay,
    "bridge-averaged": Averaged,
    "bridge-control": ImitatingControl,
}


def _over_bits(config: Density, steps: int) -> Contestant:
    del steps
    approximator = _approximator(config)
    draws = config.evaluations // (2 if config.estimator == "bridge-control" else 1)
    estimate = OVER_BITS[config.estimator](approximator, config.gamma, draws)
    if config.estimator != "bridge-noise":
        fit(approximator, config.fitting, config.latents, lambda p: estimate.shown(p.logit(1e-6)), estimate.hard)
    return Contestant(estimate, estimate)


def _rebar(config: Density, steps: int) -> Contestant:
    del steps
    control = hg.montecarlo.RebarControl(config.temperature)
    return Contestant(partial(hg.rebar, control=control, samples=config.evaluations // 2), control)


def _relax(config: Density, steps: int) -> Contestant:
    """A network beside f at relaxed bits, as in the paper's own experiment of this kind."""
    del steps
    network = hg.approximators.mlp(config.latents, 1, hidden=[CONTROL_UNITS])
    control = hg.montecarlo.RelaxControl(network, config.temperature)
    return Contestant(partial(hg.relax, control=control, samples=config.evaluations // 2), control)


def _gumbel(config: Density, steps: int) -> Contestant:
    cools = hg.montecarlo.Annealed(config.temperature, config.last_temperature, steps)
    hard = config.estimator == "gumbel-hard"
    return Contestant(partial(hg.gumbel, temperature=cools, hard=hard, samples=config.evaluations), cools)
