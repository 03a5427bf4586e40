"""Which network a bridge should have: one change at a time against two hidden layers of 64, and what each lends.

Four tasks with a signum in them, each by Muon and by Adam: ``sort-10`` is table II's dense network; ``codes`` packs
pictures of Fashion-MNIST into 64 signs and unpacks them; ``fashion`` names them from 128 signs; ``deep`` has four
layers of signs. ``exact`` lends the derivative of the blurred signum that all are measured against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from hardgrad_lab.experiments.bridges.trial import Effort
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.published import Claim, Metric

Lender = Literal[
    "network", "skip", "elementwise", "principal", "tanh-1", "tanh-2", "tanh-4", "arctan", "clipped", "exact"
]
Optimizer = Literal["muon", "adam"]
Activation = Literal["tanh", "elu", "relu", "gelu"]
TWINS: tuple[str, ...] = get_args(Lender)[4:]


@dataclass(frozen=True, kw_only=True)
class Study(Effort):
    """One way to lend a signum a gradient, seed apart.

    Args:
        optimizer: Adam for all weights; or Muon for the matrices of the network, and Adam for the rest.
        bridge_lr: Adam's rate for approximators.
        lender: an approximator over all features, one beside the identity, one for each feature by itself, the
            projection on the directions in which rows vary most, or a twin.
        hidden: widths of the approximator's hidden layers; of a projection, how many directions.
        activation: between them.
        margin: half width of the signum's zero band.
        blur: the approximator learns from rows with noise of so many times their deviation.
        lessons: steps of the approximator for one of the network, all on the same rows.
        memory: how much of the lent approximator's weights a step keeps, as a moving average of those that learn.
        until: share of the run after which the approximator learns no more.
    """

    optimizer: Optimizer
    bridge_lr: float
    lender: Lender
    hidden: tuple[int, ...]
    activation: Activation
    margin: float
    blur: float
    lessons: int
    memory: float
    until: float

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, value in vars(self).items():
            least = 0 if isinstance(value, float) else 1
            for each in value if isinstance(value, tuple) else [value] if name not in _CHOICES else []:
                require(isinstance(each, str) or each >= least, name, f"at least {least}", value)
            require(value in _CHOICES.get(name, [value]), name, f"one of {', '.join(_CHOICES.get(name, []))}", value)
        require(self.lr > 0, "lr", "greater than 0", self.lr)
        require(self.memory < 1, "memory", "below 1", self.memory)


_CHOICES = {"optimizer": get_args(Optimizer), "lender": get_args(Lender), "activation": get_args(Activation)}
# 3 million rows of numbers to sort, and 192,000 pictures, which is three passes.
_TASKS: dict[str, dict[str, Any]] = {
    "sort-10": {"width": 256, "margin": 0.5},
    "codes": {"width": 64, "margin": 0.0},
    "fashion": {"width": 128, "margin": 0.0},
    "deep": {"width": 128, "margin": 0.0},
}
_SORT: dict[Optimizer, dict[str, Any]] = {
    "muon": {"lr": 0.02, "batch": 512, "steps": 5_860},
    "adam": {"lr": 0.004, "batch": 1_024, "steps": 2_930},
}
_PICTURES: dict[Optimizer, dict[str, Any]] = {
    "muon": {"lr": 0.01, "batch": 128, "steps": 1_500},
    "adam": {"lr": 0.002, "batch": 128, "steps": 1_500},
}


_BASE: dict[str, Any] = {
    "lender": "network", "hidden": (64, 64), "activation": "tanh", "bridge_lr": 0.003, "blur": 0.0, "lessons": 1,
    "memory": 0.0, "until": 1.0,
}  # fmt: skip
_WIDTHS = ("256", "32-32", "64-64", "128-128", "256-256", "64-64-64", "128-128-128", "64-64-64-64")
CONTESTANTS: dict[str, dict[str, Any]] = {
    "linear": {"hidden": ()},
    **{name: {"hidden": tuple(map(int, name.split("-")))} for name in _WIDTHS},
    **{name: {"activation": name} for name in ("elu", "relu", "gelu")},
    "skip": {"lender": "skip"},
    "elementwise": {"lender": "elementwise", "hidden": (16, 16)},
    "slow": {"bridge_lr": 0.001},
    "fast": {"bridge_lr": 0.009},
    "blurred": {"blur": 0.3},
    "average": {"memory": 0.99},
    "four-lessons": {"lessons": 4},
    "frozen": {"until": 0.1},
    **{f"principal-{k}": {"lender": "principal", "hidden": (k,)} for k in (64, 24)},
    **{name: {"lender": name, "hidden": ()} for name in TWINS},
}

APPROXIMATORS = Experiment(
    name="approximators",
    about="Train through a signum with one approximator or another: 64-64 has two hidden layers of 64 and tanh, each "
    "other contestant one change of it, or no approximator but a twin.",
    source="A question that Ramapuram and Webb 2020 leave open",
    config=Study,
    program="hardgrad_lab.experiments.bridges.drawn",
    common=_BASE,
    tasks={
        f"{task}-{name}": {"optimizer": name, **values, **(_SORT if task == "sort-10" else _PICTURES)[name]}
        for task, values in _TASKS.items()
        for name in _SORT
    },
    contestants=CONTESTANTS,
    budgets={
        "smoke": {"width": 8, "steps": 4, "batch": 16, "test_rows": 100, "evaluations": 2},
        "small": {"test_rows": 10_000, "evaluations": 4},
        "paper": {"steps": 40_000, "test_rows": 10_000, "evaluations": 8},
    },
    planned={"smoke": ["deep-adam"]},
    unplanned=[("smoke", "deep-adam", name) for name in CONTESTANTS if name not in ("64-64", "average", "exact")],
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[
        Metric(name="score", title="rows right, or variance explained", form=".1%"),
        Metric(name="imitation", title="error of the imitation", form=".2f", better="less"),
        Metric(name="cosine", title="cosine with the true gradient", form=".2f"),
        Metric(name="length", title="length over the true one's", form=".2f"),
        Metric(name="gain", title="gain of a step", form=".3f"),
        Metric(name="true_gain", title="gain along the true one", form=".3f"),
        Metric(name="agree", title="agreement of two batches", form=".2f"),
        Metric(name="diagonal", title="elementwise share", form=".2f"),
        Metric(name="top", title="largest singular value", form=".2f", better="less"),
        Metric(name="rank", title="effective rank", form=".0f"),
        Metric(name="gradient_rank", title="that of the weights' gradient", form=".0f"),
        Metric(name="turn", title="turn along a small step", form=".3f", better="less"),
        Metric(name="differ", title="turn between rows", form=".2f", better="less"),
    ],
    claims=[
        Claim(says=says, source="ours", task=task, metric="score", better=better, worse=worse)
        for says, task, better, worse in (
            ("by Muon, a second hidden layer pays", "sort-10-muon", "64-64", "256"),
            ("by Muon, a bridge beats its twin", "sort-10-muon", "64-64", "tanh-4"),
            ("by Adam, the twin beats the bridge", "sort-10-adam", "tanh-4", "64-64"),
        )
    ],
    parts=[Part(anchor="approximators", title="What makes a bridge good")],
    brief=True,
)
