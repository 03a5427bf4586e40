"""Classification behind a hard layer: the configuration of a run, and its presets. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.schedule import Schedule

Layer = Literal["identity", "signum", "sort", "top-k", "k-means", "sort-1d"]
Gradient = Literal["bridge", "straight-through", "exact", "none"]
Head = Literal["flat", "pooled"]
Network = Literal["fast", "resnet-18"]
Precision = Literal["float32", "bfloat16"]
Optimizer = Literal["adam", "sgd", "muon"]
STAGES = 4
WHITENED = 24  # channels of fast's first stage
RESHAPING = ("sort", "top-k")  # what they return is no feature map for another stage


SIDES: Mapping[Network, tuple[int, ...]] = {"fast": (31, 15, 7, 4), "resnet-18": (32, 16, 8, 4)}


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One configuration of a classifier with a hard layer, seed apart.

    Args:
        task: the data set.
        contestant: which layer, where, and with which gradient.
        budget: the preset the other values started from.
        layer: the hard function.
        stage: after which of the four stages it stands.
        gradient: what the layers before it learn from; none lets them stay as they were drawn.
        conditioning: let the bridge's penalty reach the layers before it.
        margin: of signum, half width of its zero band.
        k: how many values of each channel top-k keeps.
        clusters: of k-means.
        gamma: weight of the bridge's penalty.
        bridge_lr: Adam's learning rate of the approximator.
        network: fast, the small one of the fast setting; or resnet-18.
        precision: of what a training step computes: bfloat16 by ``torch.autocast``, on a CPU as on a GPU; weights,
            optimizers, evaluations and the hard layer stay in float32.
        width: channels of resnet-18's first stage, and eight times as many after the fourth; of fast's second, and
            four times as many after the third and fourth.
        head: what the last layer sees, flat for every value or pooled for each channel's mean.
        optimizer: of the network; adam decouples its weight decay, sgd has Nesterov momentum of 0.9, muon is for
            fast's filters beside adam for the rest.
        lr: its learning rate, the peak of a schedule.
        weight_decay: of the network's weights.
        schedule: of all learning rates.
        label_smoothing: share of a label spread over all classes.
        augment: move pictures and mirror them: by up to four pixels, at random; for fast by two, in every other epoch.
        epochs: passes over the training rows.
        batch: pictures in a step.
        rows: training rows, the first so many; 0 for all 50,000.
        test_rows: rows for the final measures, the first so many; 0 for all 10,000.
        curve_rows: rows for the measures before that, the first so many of those.
        evaluations: points on the curve.
    """

    task: str
    contestant: str
    budget: Budget
    layer: Layer
    stage: int
    gradient: Gradient
    conditioning: bool
    margin: float
    k: int
    clusters: int
    gamma: float
    bridge_lr: float
    network: Network
    precision: Precision
    width: int
    head: Head
    optimizer: Optimizer
    lr: float
    weight_decay: float
    schedule: Schedule
    label_smoothing: float
    augment: bool
    epochs: int
    batch: int
    rows: int
    test_rows: int
    curve_rows: int
    evaluations: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        least = {"k": 1, "clusters": 1, "width": 1, "epochs": 1, "batch": 2, "curve_rows": 1, "evaluations": 1}
        for name, value in least.items():
            require(getattr(self, name) >= value, name, f"at least {value}", getattr(self, name))
        for name in ("margin", "gamma", "weight_decay", "rows", "test_rows"):
            require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        for name in ("lr", "bridge_lr"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
        require(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1", self.label_smoothing)
        for name, kind in _CHOICES.items():
            require(
                getattr(self, name) in get_args(kind), name, f"one of {', '.join(get_args(kind))}", getattr(self, name)
            )
        muon = self.optimizer != "muon" or self.network == "fast"
        require(muon, "optimizer", f"adam or sgd for {self.network}", self.optimizer)
        decays = self.optimizer != "muon" or self.weight_decay == 0
        require(decays, "weight_decay", "0 with muon, which keeps each filter matrix at its size", self.weight_decay)
        self._check_layer()

    def _check_layer(self) -> None:
        require(1 <= self.stage <= STAGES, "stage", f"from 1 to {STAGES}", self.stage)
        last = self.stage == STAGES or self.layer not in RESHAPING
        require(
            last, "stage", f"{STAGES} for {self.layer}, which returns no feature map for a stage after it", self.stage
        )
        side = self.side
        require(self.k <= 2 * side**2, "k", f"at most {2 * side**2}, twice the values of a channel", self.k)
        require(self.clusters <= side**2, "clusters", f"at most {side**2}, the places of a map", self.clusters)
        # Straight-through copies a gradient value by value, and the bridge alone has a penalty that could condition.
        same = self.gradient != "straight-through" or self.layer not in RESHAPING
        require(same, "gradient", f"another for {self.layer}, whose output has another shape", self.gradient)
        require(not self.conditioning or self.gradient == "bridge", "conditioning", "off without a bridge", True)

    @property
    def side(self) -> int:
        """Return height and width of the maps that the layer takes."""
        return SIDES[self.network][self.stage - 1]

    @property
    def channels(self) -> int:
        """Return how many channels they have."""
        widths = (1, 2, 4, 8) if self.network == "resnet-18" else (0, 1, 4, 4)
        return widths[self.stage - 1] * self.width or WHITENED


_CHOICES: Mapping[str, Any] = {
    "layer": Layer, "gradient": Gradient, "head": Head, "network": Network, "precision": Precision,
    "optimizer": Optimizer, "schedule": Schedule,
}  # fmt: skip
LATER: Mapping[str, Any] = {"network": "resnet-18", "precision": "float32"}
COMMON: Mapping[str, Any] = {
    "stage": 4, "gradient": "bridge", "conditioning": False, "margin": 0.5, "k": 16, "clusters": 10, "gamma": 10.0,
    "head": "flat", "rows": 0, "test_rows": 0,
}  # fmt: skip
FAST: Mapping[str, Any] = {
    "network": "fast", "precision": "bfloat16", "optimizer": "muon", "lr": 0.02, "bridge_lr": 1e-2,
    "weight_decay": 0.0, "schedule": "one-cycle", "label_smoothing": 0.2, "augment": True,
}  # fmt: skip
PUBLISHED: Mapping[str, Any] = {
    "network": "resnet-18", "precision": "float32", "optimizer": "adam", "lr": 1e-4, "bridge_lr": 1e-4,
    "weight_decay": 0.0, "schedule": "constant", "label_smoothing": 0.0, "augment": True,
}  # fmt: skip
BUDGETS: Mapping[Budget, Mapping[str, Any]] = {
    "smoke": {
        **FAST, "width": 4, "epochs": 1, "batch": 16, "rows": 48, "test_rows": 64, "curve_rows": 32, "evaluations": 3,
    },
    "small": {**FAST, "width": 64, "epochs": 8, "batch": 500, "curve_rows": 1000, "evaluations": 8},
    "paper": {**PUBLISHED, "width": 64, "epochs": 200, "batch": 128, "curve_rows": 10_000, "evaluations": 200},
}  # fmt: skip
