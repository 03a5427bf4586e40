"""The published toys: what each is, who competes in it, how long it is trained. Does not import torch.

A toy is trained (the loss and the gradient's variance along the way), or surveyed: the gradient is measured at given
probabilities, and nothing is trained. Rows of a toy are independent copies of it, side by side in one batch.

Sources, where a value is not ours:
- rebar: Tucker et al. 2017 (arXiv 1703.07370), one Bernoulli variable, target 0.45.
- relax: Grathwohl et al. 2018 (arXiv 1711.00123), section 6.1, target 0.499; Adam at 0.01 for the variable and for the
  control of 10 hidden units, first temperature 0.5: the authors' program.
- disarm: Yin and Zhou 2019 (arXiv 1807.11143), section 4, taken over by Dong et al. 2020 (arXiv 2006.10680): the same
  loss is maximised, target 0.499, 3,000 steps; the step of 1 is the ARMS authors' program's.
- arms: Dimitriev and Zhou 2021 (arXiv 2105.14141), target 0.49, probabilities of 0.1 to 0.9, 2 to 10 samples.
- reinmax: Liu et al. 2023 (arXiv 2304.08612), polynomial programming: 128 two-way variables, target 0.45, powers 1.5, 2
  and 3; batch 64, 40 times 200 steps of Adam at 0.001, logits from U(-0.01, 0.01): the authors' program.
- gumbel-rao: Paulus et al. 2020 (arXiv 2010.04838), section 5.2, a quadratic programme on the simplex.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.record import Run

Budget = Literal["smoke", "small", "paper"]
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
        task: the toy, a key of ``TASKS``.
        contestant: the estimator's name in the table.
        budget: the preset the other values started from.
        problem: one 0/1 variable (coin), many in one loss (coins), or a one-hot variable (simplex).
        target: c of the loss abs(b - c) ** power; of the simplex, each of its three targets.
        power: of the loss.
        maximise: whether the loss is to be large.
        rows: copies of a coin; points along the side of a simplex that is surveyed.
        units: variables in one loss (coins).
        batch: draws of all coins that a step averages over (coins).
        estimator: which function.
        samples: draws of one estimate; pairs of draws for disarm.
        temperature: of the relaxation, where there is one; the first one where it is learnt or annealed.
        last_temperature: after 80 % of the steps, where it is annealed; 0 keeps the first.
        hard: whether gumbel shows f hard samples.
        inner: draws of the relaxation for one hard sample (gumbel_rao).
        baseline: of the score function.
        beside_f: whether relax's control has f at the relaxed sample in it, beside its network.
        steps: optimiser steps; 0 surveys.
        optimizer: of the variables.
        lr: its learning rate.
        learnt_lr: Adam's, for what the estimator learns.
        evaluations: how often the gradient is measured in a run.
        draws: gradients that one measurement takes.
    """

    task: str
    contestant: str
    budget: Budget
    problem: Problem
    target: float
    power: float = 2.0
    maximise: bool = False
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
    learnt_lr: float = 0.01
    evaluations: int
    draws: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, allowed in _CHOICES.items():
            require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name, least in _LEAST.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        for name in ("lr", "learnt_lr", "temperature", "power"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
        require(0 < self.target < 1, "target", "between 0 and 1", self.target)
        if self.problem == "simplex":  # there the published loss divides by zero
            require(self.rows % 3 != 2, "rows", "other than 2, 5, 8, ... of a simplex", self.rows)
        if self.baseline == "leave-one-out":
            require(self.samples >= 2, "samples", "at least 2, to leave one out", self.samples)

    def run(self, seed: int) -> Run:
        """Return the identity of the run of this configuration with ``seed``."""
        label = f"{self.task}-{self.contestant}-{self.budget}"
        return Run(experiment="toys", label=label, config=asdict(self), seed=seed)

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

_SCORE: dict[str, dict[str, Any]] = {
    "score": {"estimator": "score_function"},
    "score-average": {"estimator": "score_function", "baseline": "moving-average"},
    "score-network": {"estimator": "score_function", "baseline": "network"},
    "score-loo": {"estimator": "score_function", "baseline": "leave-one-out", "samples": 2},
}
_PAIRED: dict[str, dict[str, Any]] = {"disarm": {"estimator": "disarm"}, "arms": {"estimator": "arms", "samples": 4}}
# rebar and relax learn their temperature from 0.5 on, as their authors' program does.
_CONTROLLED: dict[str, dict[str, Any]] = {
    "rebar": {"estimator": "rebar", "temperature": 0.5},
    "relax": {"estimator": "relax", "temperature": 0.5},
    "relax-beside-f": {"estimator": "relax", "temperature": 0.5, "beside_f": True},
}
_COIN: dict[str, dict[str, Any]] = {
    "exact": {"estimator": "exact"},
    **_SCORE,
    **_PAIRED,
    **_CONTROLLED,
    "reinmax": {"estimator": "reinmax"},
    "straight-through": {"estimator": "straight_through"},
    "gumbel-soft": {"estimator": "gumbel", "hard": False, "temperature": 0.5},
    "gumbel-soft-0.1": {"estimator": "gumbel", "hard": False, "temperature": 0.1},
    "gumbel-annealed": {"estimator": "gumbel", "hard": False, "last_temperature": 0.1},
    "gumbel-hard": {"estimator": "gumbel", "temperature": 0.5},
    "gumbel-rao": {"estimator": "gumbel_rao", "temperature": 0.5, "inner": 10},
    "bridge": {"estimator": "bridge"},
}
_COINS: dict[str, dict[str, Any]] = {
    "exact": {"estimator": "exact"},
    "score": _SCORE["score"],
    "score-loo": _SCORE["score-loo"],
    "reinmax": {"estimator": "reinmax"},
    "straight-through": {"estimator": "straight_through"},
    "gumbel-hard": {"estimator": "gumbel"},
    "gumbel-rao": {"estimator": "gumbel_rao", "inner": 10},
}
SURVEYED_SAMPLES = (2, 4, 6, 8, 10)
_ARMS: dict[str, dict[str, Any]] = {
    **{f"score-loo-{n}": {**_SCORE["score-loo"], "samples": n} for n in SURVEYED_SAMPLES},
    **{f"disarm-{n}": {"estimator": "disarm", "samples": n // 2} for n in SURVEYED_SAMPLES},
    **{f"arms-{n}": {"estimator": "arms", "samples": n} for n in SURVEYED_SAMPLES},
}
SURVEYED_TEMPERATURES = (0.1, 0.5, 1.0)
SURVEYED_INNER = (1, 10, 100)
_RAO: dict[str, dict[str, Any]] = {
    **{f"gumbel-hard-{t}": {"estimator": "gumbel", "temperature": t} for t in SURVEYED_TEMPERATURES},
    **{
        f"gumbel-rao-{k}-{t}": {"estimator": "gumbel_rao", "temperature": t, "inner": k}
        for k in SURVEYED_INNER
        for t in SURVEYED_TEMPERATURES
    },
}

_TRAINED = {"problem": "coin", "rows": 20, "evaluations": 50, "draws": 1000}
# A quarter of the published steps, four times as wide: the logits get as far.
_POLYNOMIAL: dict[str, Any] = {
    "problem": "coins", "target": 0.45, "rows": 1, "units": 128, "batch": 64, "steps": 2_000, "lr": 0.004,
    "evaluations": 40, "draws": 200,
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "rebar": {**_TRAINED, "target": 0.45, "steps": 5_000},
    "relax": {**_TRAINED, "target": 0.499, "steps": 10_000},
    "disarm": {**_TRAINED, "target": 0.499, "maximise": True, "steps": 3_000, "optimizer": "sgd", "lr": 1.0},
    "arms": {
        "problem": "coin", "target": 0.49, "maximise": True, "rows": 17, "steps": 0, "evaluations": 1, "draws": 20_000,
    },
    "reinmax-1.5": {**_POLYNOMIAL, "power": 1.5},
    "reinmax-2": {**_POLYNOMIAL, "power": 2.0},
    "reinmax-3": {**_POLYNOMIAL, "power": 3.0},
    "gumbel-rao": {"problem": "simplex", "target": 1 / 3, "rows": 10, "steps": 0, "evaluations": 1, "draws": 2_000},
}  # fmt: skip
CONTESTANTS: dict[str, dict[str, dict[str, Any]]] = {
    "rebar": _COIN,
    "relax": _COIN,
    "disarm": {"exact": _COIN["exact"], **_SCORE, **_PAIRED, **_CONTROLLED},
    "arms": _ARMS,
    "reinmax-1.5": _COINS,
    "reinmax-2": _COINS,
    "reinmax-3": _COINS,
    "gumbel-rao": _RAO,
}
SMOKE: dict[str, Any] = {"steps": 20, "rows": 3, "evaluations": 2, "draws": 50}
PAPER: dict[str, Any] = {"steps": 8_000, "lr": 0.001}  # of the polynomials; all else is as published in any case


def configure(budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Toy:
    """Return the configuration of one contestant in one toy, with the given values in place of the preset's.

    Args:
        budget: smoke ends in an instant and says nothing; small is as published but for the polynomials, which take a
            quarter of the steps; paper is as published.
        task: one of ``TASKS``.
        contestant: one of ``CONTESTANTS[task]``.
        given: field names of ``Toy`` and values.

    Raises:
        OptionError: if a value is not allowed.

    Example:
        >>> configure("small", "relax", "disarm", {"rows": 5}).target
        0.499
    """
    require(budget in get_args(Budget), "budget", f"one of {', '.join(get_args(Budget))}", budget)
    require(task in TASKS, "task", f"one of {', '.join(TASKS)}", task)
    known = CONTESTANTS[task]
    require(contestant in known, "contestant", f"one of {', '.join(known)}", contestant)
    toy = Toy(task=task, contestant=contestant, budget=budget, **{**TASKS[task], **known[contestant]})
    if budget == "paper" and toy.problem == "coins":
        toy = replace(toy, **PAPER)
    if budget == "smoke":  # a survey stays one
        toy = replace(toy, **{**SMOKE, **({} if toy.steps else {"steps": 0})})
    return replace(toy, **given)


def option_names() -> list[str]:
    """Return the names of all values of a configuration."""
    return [field.name for field in fields(Toy)]
