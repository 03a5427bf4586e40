"""Every Monte Carlo estimator, as users call it.

A new estimator is one entry in ``ESTIMATORS``; every law and every comparison with enumeration then runs on it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent

import hardgrad as hg
import mc_formulas
from mc_bank import Case, Variable

UNITS = ("Bernoulli", "OneHotCategorical", "Categorical")
ALL = (*UNITS, "KSubset")
VECTORS = ("Bernoulli", "OneHotCategorical")
MASKS = (*VECTORS, "KSubset")
Call = Callable[..., Tensor]


@dataclass(frozen=True)
class Estimator:
    """An estimator as users call it: ``make(q)`` gives ``(q, f, *, generator) -> (*batch,)`` with modules of its own.

    Args:
        name: in ids and tables.
        make: a ``functools.partial`` of the public function; modules among its keywords are what it owns.
        kinds: of q that it takes.
        formula: what its mean is where that is not the gradient; None if it is unbiased.
        values_only: whether f may be a black box.
        any_order: whether second derivatives are right; otherwise asking for one must raise.
        relaxed: whether f sees relaxed samples, which biases the value too.
        noisy: whether it draws at all.
        stacks: whether it may stand in an objective of its own kind, which then has no second derivative.
        draws: how many of the samples that f sees the value is the mean of, where f sees others after them; 0 where the
            value is another sum.
    """

    name: str
    make: Callable[[Distribution], Call]
    kinds: tuple[str, ...] = VECTORS
    formula: Callable[[mc_formulas.Setting], mc_formulas.Expected] | None = None
    values_only: bool = False
    any_order: bool = False
    relaxed: bool = False
    noisy: bool = True
    stacks: bool = True
    draws: int | None = None

    @property
    def unbiased(self) -> bool:
        return self.formula is None

    def takes(self, variable: Variable, case: Case | None) -> bool:
        """Whether it takes an objective behind a distribution; no case is two layers."""
        if variable.kind not in self.kinds:
            return False
        if case is None:
            return self.stacks
        return case.least_units <= variable.units and (self.values_only or not case.black_box)

    def __str__(self) -> str:
        return self.name


def modules(call: Call) -> dict[str, nn.Module]:
    """What an estimator owns, by the name of its argument."""
    keywords = getattr(call, "keywords", {})
    return {name: value for name, value in keywords.items() if isinstance(value, nn.Module)}


class FromEvent(nn.Module):
    """A small network from an event, of any shape, to one number; smooth."""

    def __init__(self, event: torch.Size, dtype: torch.dtype, seed: int = 4) -> None:
        super().__init__()
        self.dims = len(event)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(event.numel(), 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(x.ndim - self.dims) if self.dims else x.unsqueeze(-1)
        return self.layers(flat.to(self.layers[0].weight.dtype)).squeeze(-1)


def parameter_of(q: Distribution) -> Tensor:
    while isinstance(q, Independent):
        q = q.base_dist
    return q.logits if isinstance(q, hg.KSubset) else q._param


def _network(q: Distribution) -> nn.Module:
    parameter = parameter_of(q)
    return FromEvent(parameter.shape[len(q.batch_shape) :], parameter.dtype).to(parameter.device)


def _moving_average() -> nn.Module:
    average = hg.montecarlo.MovingAverage(decay=0.5)
    average.observe(torch.tensor([0.4]))
    return average


@cache
def _trained() -> nn.Module:
    """An approximator that has learned to imitate sampling, whatever the probability."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = hg.approximators.elementwise().double()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            q = Bernoulli(torch.rand(128, dtype=torch.float64))
            hg.montecarlo.bridge_estimator(q, lambda b: b, network, weight=1.0).sum().backward()
            optimizer.step()
    return network


def _approximator(q: Distribution) -> nn.Module:
    return copy.deepcopy(_trained()).to(parameter_of(q))


def _held(control: hg.montecarlo.RelaxControl) -> nn.Module:
    """With a temperature that does not learn, which asks no second derivative of f."""
    control.rebar.log_temperature.requires_grad_(False)
    return control


def _annealed() -> nn.Module:
    temperature = hg.montecarlo.Annealed(start=1.0, end=0.25, steps=2)
    temperature.step()
    return temperature


def _score_function(name: str, **options: Callable[[Distribution], Any]) -> Estimator:
    def make(q: Distribution) -> Call:
        return partial(hg.score_function, **{option: value(q) for option, value in options.items()})

    return Estimator(f"score function, {name}", make, ALL, values_only=True, any_order=True)


_MC = hg.montecarlo
ESTIMATORS = [
    Estimator("exact", lambda q: partial(hg.exact), ALL, values_only=True, any_order=True, noisy=False),
    _score_function("plain"),
    _score_function("moving average", baseline=lambda q: _moving_average()),
    _score_function("leave one out", baseline=lambda q: "leave_one_out", samples=lambda q: 2),
    _score_function("network", baseline=_network, samples=lambda q: 2),
    Estimator("disarm", lambda q: partial(hg.disarm, samples=4), ("Bernoulli",), values_only=True),
    Estimator("arms", lambda q: partial(hg.arms, samples=3), ("Bernoulli",), values_only=True),
    Estimator("carms", lambda q: partial(hg.carms, samples=3), ("OneHotCategorical", "Categorical"), values_only=True),
    Estimator("each unit", lambda q: partial(hg.each_unit, samples=2), UNITS, values_only=True, draws=2),
    Estimator("each unit, one", lambda q: partial(hg.each_unit, units=1), UNITS, values_only=True, draws=1),
    Estimator("unordered set", lambda q: partial(hg.unordered_set, samples=3), ALL, values_only=True, draws=0),
    Estimator("double_cv", lambda q: partial(hg.double_cv, samples=3), MASKS),
    Estimator("rebar", lambda q: partial(hg.rebar)),
    Estimator("rebar, untied", lambda q: partial(hg.rebar, tied=False, temperature=1.0, scale=0.7, samples=2)),
    Estimator("rebar, learned", lambda q: partial(hg.rebar, control=_MC.RebarControl()), stacks=False),
    Estimator("relax", lambda q: partial(hg.relax, control=_network(q), samples=2), values_only=True),
    Estimator("relax, with f", lambda q: partial(hg.relax, control=_held(_MC.RelaxControl(_network(q))))),
    Estimator(
        "straight-through",
        lambda q: partial(_MC.straight_through_estimator, samples=2),
        MASKS,
        formula=mc_formulas.straight_through,
    ),
    Estimator(
        "gumbel, soft",
        lambda q: partial(hg.gumbel, temperature=0.5, hard=False, samples=2),
        formula=mc_formulas.relaxed(0.5),
        relaxed=True,
        any_order=True,
    ),
    Estimator("gumbel, hard", lambda q: partial(hg.gumbel), MASKS, formula=mc_formulas.hardened(1.0)),
    Estimator(
        "gumbel, hard, annealed",
        lambda q: partial(hg.gumbel, temperature=_annealed(), samples=2),
        MASKS,
        formula=mc_formulas.hardened(0.5),
    ),
    Estimator(
        "gumbel_rao",
        lambda q: partial(hg.gumbel_rao, temperature=0.5, inner=4, samples=2),
        MASKS,
        formula=mc_formulas.hardened(0.5),
    ),
    Estimator(
        "gumbel, soft, two temperatures",
        lambda q: partial(hg.gumbel, temperature=0.3, hard=False, backward_temperature=0.8),
        formula=mc_formulas.relaxed(0.3, 0.8),
        relaxed=True,
    ),
    Estimator("gapped", lambda q: partial(hg.gapped, temperature=0.5), formula=mc_formulas.gapped(1.0, 0.5)),
    Estimator("reinmax", lambda q: partial(hg.reinmax), formula=mc_formulas.reinmax),
    Estimator(
        "bridge",
        lambda q: partial(_MC.bridge_estimator, approximator=_approximator(q), samples=2),
        formula=mc_formulas.bridge,
    ),
]
