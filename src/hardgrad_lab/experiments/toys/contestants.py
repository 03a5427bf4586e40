"""The estimators of a toy, each with its options and with what it learns, called alike.

Networks that learn have weights of their own for each copy of a variable. What is a number or two is shared by the
copies, and so better known than by one alone: the moving average, the temperature and the scale of rebar, and the
approximator of the bridge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import hardgrad as hg
from hardgrad_lab.experiments.toys.config import Toy

HIDDEN = 10  # units of a control or a baseline, as in the program of Grathwohl et al. 2018
COOLED = 0.8  # share of a run after which an annealed temperature stands still


class Contestant(nn.Module):
    """An estimator ready to be called.

    Args:
        estimate: takes q, f and ``generator``.
        learns: what it trains, kept so that an optimiser finds it.
        anneals: whether ``learns`` is a temperature to lower after each step.
    """

    def __init__(self, estimate: Callable[..., Tensor], learns: nn.Module | None = None) -> None:
        super().__init__()
        self.estimate, self.learns = estimate, learns

    def forward(self, q: Distribution, f: hg.montecarlo.Objective, generator: torch.Generator | None = None) -> Tensor:
        return self.estimate(q, f, generator=generator)

    def step(self) -> None:
        """Say that the optimiser took a step."""
        if isinstance(self.learns, hg.montecarlo.Annealed):
            self.learns.step()


class PerRow(nn.Module):
    """A small network with weights of its own for each row, so that rows learn nothing from one another.

    Args:
        rows: how many.
        hidden: units of its one hidden layer.
    """

    def __init__(self, rows: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        one = [(nn.Linear(1, hidden), nn.Linear(hidden, 1)) for _ in range(rows)]  # for their usual start
        self.weight_in = nn.Parameter(torch.stack([first.weight.detach()[:, 0] for first, _ in one]))
        self.bias_in = nn.Parameter(torch.stack([first.bias.detach() for first, _ in one]))
        self.weight_out = nn.Parameter(torch.stack([last.weight.detach()[0] for _, last in one]))
        self.bias_out = nn.Parameter(torch.stack([last.bias.detach()[0] for _, last in one]))

    def forward(self, x: Tensor) -> Tensor:
        """Return one number for each row, shape ``(*lead, rows)`` for ``x`` of shape ``(*lead, rows, 1)``."""
        # Centred, as in the program: x is a relaxed 0/1 sample, or a logit.
        hidden = ((2 * x - 1) * self.weight_in + self.bias_in).tanh()
        return (hidden * self.weight_out).sum(-1) + self.bias_out


class Relaxed(nn.Module):
    """A control of relax for each row: its network at the sample relaxed at a temperature that learns.

    Args:
        rows: how many.
        temperature: the first.
    """

    def __init__(self, rows: int, temperature: float) -> None:
        super().__init__()
        self.network = PerRow(rows)
        self.log_temperature = nn.Parameter(torch.full((rows, 1), math.log(temperature)))

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.network((z / self.log_temperature.exp()).sigmoid())
        return y


def contestant(toy: Toy) -> Contestant:
    """Return the estimator of a toy. What it learns draws its start from torch's global seed."""
    build: dict[str, Callable[[Toy], Contestant]] = {
        "score_function": _score_function,
        "disarm": lambda toy: Contestant(partial(hg.disarm, samples=2 * toy.samples)),
        "arms": lambda toy: Contestant(partial(hg.arms, samples=toy.samples)),
        "rebar": _rebar,
        "relax": _relax,
        "reinmax": lambda toy: Contestant(partial(hg.reinmax, samples=toy.samples)),
        "straight_through": lambda toy: Contestant(
            partial(hg.montecarlo.straight_through_estimator, samples=toy.samples)
        ),
        "gumbel": _gumbel,
        "gumbel_rao": lambda toy: Contestant(
            partial(hg.gumbel_rao, temperature=toy.temperature, inner=toy.inner, samples=toy.samples)
        ),
        "bridge": _bridge,
    }
    return build[toy.estimator](toy)


def _score_function(toy: Toy) -> Contestant:
    learns: nn.Module | None = None
    if toy.baseline == "moving-average":
        learns = hg.montecarlo.MovingAverage()
    elif toy.baseline == "network":
        learns = PerRow(toy.rows)
    baseline: Literal["leave_one_out"] | nn.Module | None = "leave_one_out"
    if toy.baseline != "leave-one-out":
        baseline = learns
    return Contestant(partial(hg.score_function, samples=toy.samples, baseline=baseline), learns)


def _rebar(toy: Toy) -> Contestant:
    control = hg.montecarlo.RebarControl(toy.temperature)
    return Contestant(partial(hg.rebar, control=control, samples=toy.samples), control)


def _relax(toy: Toy) -> Contestant:
    """As in the authors' program a network alone, or as in their equation one beside f."""
    control: nn.Module = Relaxed(toy.rows, toy.temperature)
    if toy.beside_f:
        control = hg.montecarlo.RelaxControl(PerRow(toy.rows), toy.temperature)
    return Contestant(partial(hg.relax, control=control, samples=toy.samples), control)


def _gumbel(toy: Toy) -> Contestant:
    cools = (
        hg.montecarlo.Annealed(toy.temperature, toy.last_temperature, int(COOLED * toy.steps))
        if toy.last_temperature
        else None
    )
    temperature = toy.temperature if cools is None else cools
    return Contestant(partial(hg.gumbel, temperature=temperature, hard=toy.hard, samples=toy.samples), cools)


def _bridge(toy: Toy) -> Contestant:
    approximator = hg.approximators.elementwise()
    return Contestant(
        partial(hg.montecarlo.bridge_estimator, approximator=approximator, samples=toy.samples), approximator
    )
