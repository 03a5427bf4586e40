"""One estimator in one toy: the configuration of a run. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import require

Problem = Literal["coin", "coins", "simplex"]
Estimator = Literal[
    "exact", "score_function", "disarm", "arms", "rebar", "relax", "straight_through", "reinmax", "gumbel",
    "gumbel_rao", "bridge",
]  # fmt: skip
Baseline = Literal["none", "moving-average", "network", "leave-one-out"]
Optimizer = Literal["adam", "sgd"]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """One estimator in one toy, seed apart.

    Args:
        task: the toy, one of the experiment's tasks.
        contestant: the estimator's name in the table.
        budget: the preset the other values started from.
        problem: one 0/1 variable (coin), many in one loss (coins), or a one-hot variable (simplex).
        target: c of the loss abs(b - c) ** power; of the simplex, each of its three targets.
        power: of the loss.
        maximize: whether the loss is to be large.
        rows: copies of a coin; points along the side of a simplex that is surveyed.
        units: variables in one loss (coins).
        batch: draws of all coins that a step averages over (coins).
        estimator: which function.
        samples: draws of one estimate; pairs of draws for disarm.
        temperature: of the relaxation, where there is one; the first one where it is learned or annealed.
        last_temperature: after 80 % of the steps, where it is annealed; 0 keeps the first.
        hard: whether gumbel shows f hard samples.
        inner: draws of the relaxation for one hard sample (gumbel_rao).
        baseline: of the score function.
        beside_f: whether relax's control has f at the relaxed sample in it, beside its network.
        steps: optimizer steps; 0 surveys.
        optimizer: of the variables.
        lr: its learning rate.
        learned_lr: Adam's, for what the estimator learns.
        evaluations: how often the gradient is measured in a run.
        draws: gradients that one measurement takes.
    """

    task: str
    contestant: str
    budget: Budget
    problem: Problem
    target: float
    power: float = 2.0
    maximize: bool = False
    rows: int
    units: int = 1
    batch: int = 1
    estimator: Estimator
    samples: int = 1
    temperature: float = 1.0
    last_temperature: float = 0.0
    hard: bool = True
    inner: int = 1
    baseline: Baseline = "none"
    beside_f: bool = False
    steps: int
    optimizer: Optimizer = "adam"
    lr: float = 0.01
    learned_lr: float = 0.01
    evaluations: int
    draws: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, allowed in _CHOICES.items():
            require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name, least in _LEAST.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        for name in ("lr", "learned_lr", "temperature", "power"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
        require(0 < self.target < 1, "target", "between 0 and 1", self.target)
        if self.problem == "simplex":  # there the published loss divides by zero
            require(self.rows % 3 != 2, "rows", "other than 2, 5, 8, ... of a simplex", self.rows)
        if self.baseline == "leave-one-out":
            require(self.samples >= 2, "samples", "at least 2, to leave one out", self.samples)

    @property
    def evaluations_of_f(self) -> int:
        """How often one estimate evaluates the loss, relaxed samples counted in; 0 for the enumeration."""
        each = {"disarm": 2, "exact": 0, "rebar": 2}.get(self.estimator, 1) + self.beside_f
        return self.samples * each


_CHOICES: dict[str, tuple[str, ...]] = {
    "budget": get_args(Budget),
    "problem": get_args(Problem),
    "estimator": get_args(Estimator),
    "baseline": get_args(Baseline),
    "optimizer": get_args(Optimizer),
}
_LEAST: dict[str, float] = {
    "rows": 1, "units": 1, "batch": 1, "samples": 1, "last_temperature": 0, "inner": 1, "steps": 0, "evaluations": 1,
    "draws": 2,
}  # fmt: skip
