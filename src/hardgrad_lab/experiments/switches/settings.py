"""What an experiment on switches is made of: its tasks, its contestants, its budgets. Imports neither torch nor numpy.

All contestants of a task see the same rows, in batches of the same size, the same number of times; they end in a linear
layer, and have as many parameters as the switch in all, but for those whose name says otherwise.

Source: Clarke 2025, LACTOSE; the details that the paper leaves out are those of the author's published programs and of
his talk at the Audio Developer Conference 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.record import Run

Experiment = Literal["piecewise", "ecg", "waveshaper"]
Budget = Literal["smoke", "small", "paper"]
Points = Literal["given", "wrong", "learnt", "lent", "near", "learnt-near", "searched"]
Branch = Literal["mlp", "published"]
Activation = Literal["relu", "tanh", "gelu", "elu", "silu"]

EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One configuration of one experiment, seed apart.

    Args:
        experiment: which.
        budget: the preset the other values started from.
        task: which map or signal.
        contestant: which model, by its name in the table.
        system: which kind of model, one of ``hardgrad_lab.baselines.NAMES``.
        points: of the switch: the true or published ones (given); 30 % off and fixed (wrong), learnt by placing them
            anew every so often (learnt), or learnt by the gradient that rows near them lend (lent); off by 30 % of the
            narrower range beside each, where that is less, and fixed (near) or learnt (learnt-near); or searched in
            the training rows.
        branch: an MLP of ``hidden`` widths, or the network that the published program has in each range.
        hidden: widths of a branch's hidden layers.
        activation: between them.
        normalise: map the key's column to [-1, 1], range by range in the switch, once in its rivals.
        window: past samples that a model sees; the last of them is the key.
        rows: training rows, drawn once a seed from all there are; 0 takes all.
        steps: updates of the weights.
        batch: rows in a step.
        lr: peak learning rate of Adam, in one cycle.
        points_lr: the same for points that learn by a lent gradient.
        evaluations: how often the error is measured in a run.
    """

    experiment: Experiment
    budget: Budget
    task: str
    contestant: str
    system: str
    points: Points
    branch: Branch
    hidden: tuple[int, ...]
    activation: Activation
    normalise: bool
    window: int
    rows: int
    steps: int
    batch: int
    lr: float
    points_lr: float
    evaluations: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, allowed in _CHOICES.items():
            require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name, least in _LEAST.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        require(self.lr > 0, "lr", "greater than 0", self.lr)
        require(self.points_lr > 0, "points_lr", "greater than 0", self.points_lr)
        require(
            bool(self.hidden) and min(self.hidden) > 0, "hidden", "at least one width, each at least 1", self.hidden
        )

    def run(self, seed: int) -> Run:
        """Return the identity of the run of this configuration with ``seed``."""
        config = {**asdict(self), "hidden": list(self.hidden)}
        label = f"{self.task}-{self.contestant}-{self.budget}"
        return Run(experiment=self.experiment, label=label, config=config, seed=seed)


_CHOICES: dict[str, tuple[str, ...]] = {
    "experiment": EXPERIMENTS,
    "budget": get_args(Budget),
    "points": get_args(Points),
    "branch": get_args(Branch),
    "activation": get_args(Activation),
}
_LEAST: dict[str, float] = {"window": 1, "rows": 0, "steps": 1, "batch": 1, "evaluations": 1}

# The contestants of every task: the name in the table, and what it changes.
_RIVALS: dict[str, dict[str, Any]] = {
    name: {"system": name} for name in ("plain-total", "plain-active", "condition-input", "film", "soft-gate")
}
_TABLE: dict[str, dict[str, Any]] = {"table": {"system": "table"}}
CONTESTANTS: dict[Experiment, dict[str, dict[str, Any]]] = {
    "piecewise": {
        "switch": {},
        "switch-raw": {"normalise": False},
        **_RIVALS,
        "plain-8x8": {"system": "plain-active", "hidden": (8, 8)},
        **_TABLE,
    },
    "ecg": {"switch": {}, "switch-raw": {"normalise": False}, **_RIVALS},
    "waveshaper": {
        "switch": {},
        "switch-wrong": {"points": "wrong"},
        "switch-learnt": {"points": "learnt"},
        "switch-lent": {"points": "lent"},
        "switch-near": {"points": "near"},
        "switch-learnt-near": {"points": "learnt-near"},
        "switch-searched": {"points": "searched"},
        **_RIVALS,
        **_TABLE,
    },
}
TASKS: dict[Experiment, dict[str, dict[str, Any]]] = {
    "piecewise": {"talk": {"hidden": (4, 4)}, "toy": {"hidden": (8, 8)}},
    # The published window is 1 sample for BCG and 80 for voice. BCG is run with 80 besides: one sample has no past.
    "ecg": {"bcg": {"window": 80}, "bcg-1": {"window": 1}, "voice": {"window": 80}},
    "waveshaper": {"fold": {}, "crush": {}, "dead-zone": {}},
}

_COMMON: dict[str, Any] = {
    "system": "switch", "points": "given", "branch": "mlp", "activation": "relu", "normalise": True, "window": 1,
    "rows": 0, "points_lr": 0.003, "lr": 0.01,
}  # fmt: skip
_SMOKE: dict[str, Any] = {"steps": 40, "batch": 64, "rows": 2_000, "evaluations": 2}
PRESETS: dict[Experiment, dict[Budget, dict[str, Any]]] = {
    "piecewise": {
        "smoke": {**_COMMON, **_SMOKE},
        "small": {**_COMMON, "steps": 2_000, "batch": 512, "evaluations": 10},
        "paper": {**_COMMON, "steps": 40_000, "batch": 512, "evaluations": 40},
    },
    "ecg": {
        "smoke": {**_COMMON, **_SMOKE, "hidden": (8, 8)},
        "small": {**_COMMON, "steps": 1_000, "batch": 256, "evaluations": 10, "hidden": (32, 32), "lr": 0.003},
        # The published program passes 151 times (voice) over some 18,000 rows; these are as many in batches of 256.
        "paper": {
            **_COMMON, "steps": 10_000, "batch": 256, "evaluations": 40, "hidden": (100, 100), "lr": 0.003,
            "branch": "published", "activation": "gelu",
        },
    },
    "waveshaper": {
        "smoke": {**_COMMON, **_SMOKE, "hidden": (4, 4)},
        "small": {**_COMMON, "steps": 1_500, "batch": 512, "rows": 200_000, "evaluations": 10, "hidden": (8, 8)},
        "paper": {**_COMMON, "steps": 40_000, "batch": 512, "evaluations": 40, "hidden": (8, 8)},
    },
}  # fmt: skip


def configure(experiment: Experiment, budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Setup:
    """Return the configuration of one contestant in one task, with the given values in place of the preset's.

    Args:
        experiment: which.
        budget: smoke takes seconds, small minutes, paper hours.
        task: one of ``TASKS[experiment]``.
        contestant: one of ``CONTESTANTS[experiment]``.
        given: field names of ``Setup`` and values.

    Returns:
        The configuration.

    Raises:
        OptionError: if a value is not allowed.

    Example:
        >>> configure("piecewise", "small", "talk", "plain-8x8", {"steps": 10}).hidden
        (8, 8)
    """
    require(experiment in EXPERIMENTS, "experiment", f"one of {', '.join(EXPERIMENTS)}", experiment)
    for name, value, known in (
        ("budget", budget, PRESETS[experiment]),
        ("task", task, TASKS[experiment]),
        ("contestant", contestant, CONTESTANTS[experiment]),
    ):
        require(value in known, name, f"one of {', '.join(known)}", value)
    values = {**PRESETS[experiment][budget], **TASKS[experiment][task]}
    setup = Setup(experiment=experiment, budget=budget, task=task, contestant=contestant, **values)
    # What a contestant is comes last: --hidden widens the branches, and not the net that is 8x8 by name.
    return replace(setup, **{**given, **CONTESTANTS[experiment][contestant]})


def option_names() -> list[str]:
    """Return the names of all values of a configuration."""
    return [field.name for field in fields(Setup)]
