"""What the experiments on switches have in common: a configuration, contestants, budgets. Imports no torch, no numpy.

All contestants of a task see the same rows, in batches of the same size, the same number of times; they end in a linear
layer, and have as many parameters as the switch in all, but for those whose name says otherwise.

Source: Clarke 2025, LACTOSE; the details that the paper leaves out are those of the author's published programs and of
his talk at the Audio Developer Conference 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hardgrad_lab.runs.experiment import Ask, Budget
from hardgrad_lab.runs.options import require

Points = Literal["given", "wrong", "learnt", "lent", "near", "learnt-near", "searched"]
Branch = Literal["mlp", "published"]
Activation = Literal["relu", "tanh", "gelu", "elu", "silu"]


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
            anew every so often (learnt), or learnt by a gradient of the rows near them (lent); off by 30 % of the
            narrower range beside each, where that is less, and fixed (near) or learnt (learnt-near); or searched in
            the training rows.
        branch: an MLP in each range, or the network that the published program has.
        hidden: widths of a branch's hidden layers: --hidden 8 --hidden 8.
        activation: between them.
        normalize: map each range to [-1, 1] before its branch, and the key of rivals by the outer points.
        window: past samples that a model sees; the last of them is the key (ecg).
        rows: training rows, drawn once a seed from all there are; 0 takes all.
        steps: updates of the weights.
        batch: rows in a step.
        lr: peak learning rate of Adam, in one cycle.
        points_lr: the same for points that learn by a gradient (waveshaper).
        evaluations: how often the error is measured in a run.
    """

    experiment: str
    budget: Budget
    task: str
    contestant: str
    system: str
    points: Points
    branch: Branch
    hidden: tuple[int, ...]
    activation: Activation
    normalize: bool
    window: int
    rows: int
    steps: int
    batch: int
    lr: float
    points_lr: float
    evaluations: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, kind in (("points", Points), ("branch", Branch), ("activation", Activation)):
            allowed = get_args(kind)
            require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name, least in {"window": 1, "rows": 0, "steps": 1, "batch": 1, "evaluations": 1}.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        for name in ("lr", "points_lr"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
        widths = bool(self.hidden) and min(self.hidden) > 0
        require(widths, "hidden", "at least one width, each at least 1", self.hidden)


NAMES = ("experiment", "budget", "task", "contestant", "system", "points")  # no option changes who is who
KEYS = {"normalize": "normalise"}  # as records have it
COMMON: Mapping[str, Any] = {
    "system": "switch",
    "points": "given",
    "branch": "mlp",
    "activation": "relu",
    "normalize": True,
    "window": 1,
    "rows": 0,
    "points_lr": 0.003,
    "lr": 0.01,
}
SMOKE: Mapping[str, Any] = {"steps": 40, "batch": 64, "rows": 2_000, "evaluations": 2}
SEEDS: Mapping[Budget, int] = {"smoke": 1, "small": 5, "paper": 5}  # of a plan
ASK = Ask(seeds=5)
RAW: Mapping[str, Mapping[str, Any]] = {"switch-raw": {"normalize": False}}
RIVALS: Mapping[str, Mapping[str, Any]] = {
    name: {"system": name} for name in ("plain-total", "plain-active", "condition-input", "film", "soft-gate")
}
TABLE: Mapping[str, Mapping[str, Any]] = {"table": {"system": "table"}}
