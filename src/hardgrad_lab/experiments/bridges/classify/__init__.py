"""Table VI: CIFAR-10 with a hard function as the last activation of a ResNet-18.

The paper puts identity, signum, sort, top-k or k-means after the fourth stage and trains through a bridge. It gives
Adam at 1e-4, batches of 128, ELU, batch normalisation and gamma 10. It does not give, and we chose:

- epochs: 200 in ``paper``, at that constant rate. Pictures are moved and mirrored, as in He et al., section 4.2.
- rows and columns: those of each channel's own 4x4 map, so 16 values become 32. Top-k keeps the 16 largest of those
  32. K-means clusters the 16 places of a picture, points of as many features as channels, and puts each place's centre
  there. Sort-1D orders all values of a picture and lays them out as a map again.
- the last layer sees every value (``flat``). The customary one sees each channel's mean (``pooled``), and the mean of
  a sorted map is that of the unsorted; so is, once Lloyd's algorithm has settled, that of a clustered one. Behind a
  pooled head sort and k-means would change the gradient alone, and not one prediction.

``small`` has width 8 and one pass over half of the rows, unmoved, at a rate that rises and falls. A short schedule at
the paper's width is ``--budget paper --optimizer sgd --lr 0.1 --weight-decay 5e-4 --schedule one-cycle --batch 512
--epochs 30``; no record here says yet what it reaches.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-E, table VI, appendix C; the network after He, Zhang,
Ren and Sun 2016 (arXiv 1512.03385), with a first convolution for pictures of 32x32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hardgrad_lab.runs.experiment import Budget, Experiment, Part
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.published import Claim, Metric, Published
from hardgrad_lab.runs.schedule import Schedule

Layer = Literal["identity", "signum", "sort", "top-k", "k-means", "sort-1d"]
Gradient = Literal["bridge", "straight-through", "exact", "none"]
Head = Literal["flat", "pooled"]
STAGES = 4
RESHAPING = ("sort", "top-k")  # what they return is no feature map for another stage


def side(stage: int) -> int:
    """Return height and width of the maps after a stage: 32, 16, 8, 4."""
    return int(2 ** (6 - stage))


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One configuration of a ResNet-18 with a hard layer, seed apart.

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
        width: channels of the first stage; the fourth has eight times as many.
        head: what the last layer sees, flat for every value or pooled for each channel's mean.
        optimizer: of the network; adam decouples its weight decay, sgd has Nesterov momentum of 0.9.
        lr: its learning rate, the peak of a schedule.
        weight_decay: of the network's weights.
        schedule: of all learning rates.
        label_smoothing: share of a label spread over all classes.
        augment: move pictures by up to four pixels and mirror them.
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
    width: int
    head: Head
    optimizer: Literal["adam", "sgd"]
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
        for name, kind in {"layer": Layer, "gradient": Gradient, "head": Head, "schedule": Schedule}.items():
            require(
                getattr(self, name) in get_args(kind), name, f"one of {', '.join(get_args(kind))}", getattr(self, name)
            )
        self._check_layer()

    def _check_layer(self) -> None:
        require(1 <= self.stage <= STAGES, "stage", f"from 1 to {STAGES}", self.stage)
        last = self.stage == STAGES or self.layer not in RESHAPING
        require(
            last, "stage", f"{STAGES} for {self.layer}, which returns no feature map for a stage after it", self.stage
        )
        side = 2 ** (6 - self.stage)
        require(self.k <= 2 * side**2, "k", f"at most {2 * side**2}, twice the values of a channel", self.k)
        require(self.clusters <= side**2, "clusters", f"at most {side**2}, the places of a map", self.clusters)
        # Straight-through copies a gradient value by value, and the bridge alone has a penalty that could condition.
        same = self.gradient != "straight-through" or self.layer not in RESHAPING
        require(same, "gradient", f"another for {self.layer}, whose output has another shape", self.gradient)
        require(not self.conditioning or self.gradient == "bridge", "conditioning", "off without a bridge", True)


COMMON: Mapping[str, Any] = {
    "stage": 4, "gradient": "bridge", "conditioning": False, "margin": 0.5, "k": 16, "clusters": 10, "gamma": 10.0,
    "head": "flat", "rows": 0, "test_rows": 0,
}  # fmt: skip
SHORT: Mapping[str, Any] = {
    "optimizer": "adam", "lr": 5e-3, "bridge_lr": 1e-2, "weight_decay": 0.0, "schedule": "one-cycle",
    "label_smoothing": 0.0, "augment": False,
}  # fmt: skip
PUBLISHED: Mapping[str, Any] = {
    "optimizer": "adam", "lr": 1e-4, "bridge_lr": 1e-4, "weight_decay": 0.0, "schedule": "constant",
    "label_smoothing": 0.0, "augment": True,
}  # fmt: skip
BUDGETS: Mapping[Budget, Mapping[str, Any]] = {
    "smoke": {
        **SHORT, "width": 4, "epochs": 1, "batch": 16, "rows": 48, "test_rows": 64, "curve_rows": 32, "evaluations": 3,
    },
    "small": {**SHORT, "width": 8, "epochs": 1, "batch": 32, "rows": 25_000, "curve_rows": 1000, "evaluations": 10},
    "paper": {**PUBLISHED, "width": 64, "epochs": 200, "batch": 128, "curve_rows": 10_000, "evaluations": 200},
}  # fmt: skip
ACCURACY = Metric(name="accuracy", title="test accuracy", form=".2%")
RELATIVE_ERROR = Metric(name="relative_error", title="relative error of the bridge", form=".3f", better="less")

CLASSIFY = Experiment(
    name="classify",
    about="Classify CIFAR-10 by a ResNet-18 whose last activation is a hard function.",
    source="Ramapuram and Webb 2020, table VI",
    config=Classification,
    program="hardgrad_lab.experiments.bridges.classify.run",
    figures="hardgrad_lab.experiments.bridges.classify.figures:draw",
    parts=[Part(anchor="table-vi", title="Table VI: CIFAR-10 behind a hard function")],
    common=COMMON,
    tasks={"cifar10": {}},
    contestants={name: {"layer": name} for name in ("identity", "signum", "sort", "top-k", "k-means")},
    budgets=BUDGETS,
    seeds={"smoke": 1, "small": 2, "paper": 5},
    metrics=[ACCURACY, RELATIVE_ERROR],
    published={
        ("cifar10", name): {"accuracy": Published(value=mean, spread=spread, replications=5, source="table VI")}
        for name, (mean, spread) in {
            "identity": (0.9287, 0.0006),
            "signum": (0.9195, 0.0007),
            "sort": (0.9293, 0.0010),
            "top-k": (0.9221, 0.0014),
            "k-means": (0.9197, 0.0016),
        }.items()
    },
    claims=[
        Claim(
            says="sorting as the last activation improves on the network without it",
            source="section IV-E",
            task="cifar10",
            metric="accuracy",
            better="sort",
            worse="identity",
        )
    ],
)
