"""Networks trained through real boxes, each gradient at equal calls: a filter before one, a controller of ten knobs.

A filter is to make what comes out of a box what a hidden filter before it made. A controller looks at a dry sound, sets
the ten knobs of a chain of plug-ins, and is to make the sound that a hidden controller made.

Source: Steinmetz et al. 2022 (arXiv 2207.08759), section IV; Spall 1992 for the two-point gradient (SPSA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hardgrad_lab.runs.experiment import Ask, Budget, Experiment, Part
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.published import Claim, Metric


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A network before a box, trained by one gradient, seed apart.

    Args:
        task: the box; ``knobs`` is the controller of a chain of plug-ins.
        contestant: the gradient of the box.
        budget: the preset the other values started from.
        source: recordings of the data folder, or tones that are drawn.
        calls: rows that the box computes in training, those that an approximator is shown beforehand counted in.
        length: samples of a row, 11,025 a second.
        lr: Adam's, of the network; it falls to nothing along a cosine.
        scale: how far two-point and score function move the box's input, or, for ``two-point-weights``, the weights.
        share: of the calls, those that a bridge learns from before the network does.
    """

    task: str
    contestant: str
    budget: Budget
    source: Literal["recordings", "drawn"]
    calls: int
    length: int
    lr: float
    scale: tuple[float, ...]
    share: float

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        require(self.source in ("recordings", "drawn"), "source", "one of recordings, drawn", self.source)
        require(self.calls >= 1, "calls", "at least 1", self.calls)
        require(self.length >= 64, "length", "at least 64", self.length)
        require(self.lr > 0, "lr", "greater than 0", self.lr)
        require(min(self.scale) > 0 and len(self.scale) in (1, 10), "scale", "one or ten positive numbers", self.scale)
        require(0 < self.share < 1, "share", "between 0 and 1", self.share)


TASKS = ("fold", "gate", "compressor", "crush", "codec", "knobs")
GRADIENTS = ("straight-through", "two-point", "two-point-weights", "score-function", "bridge-frozen", "bridge-online")
SIZES: Mapping[Budget, Mapping[str, Any]] = {
    "smoke": {"source": "drawn", "calls": 96, "length": 512},
    "small": {"source": "recordings", "calls": 2_400, "length": 2_048},
    "paper": {"source": "recordings", "calls": 40_000, "length": 11_025},
}
# Of RATES the best by the last test error of seed 100 at a third of the calls; records have other seeds.
RATES = (0.003, 0.01, 0.03)
OWN = ("lr", "scale", "share")  # what differs from gradient to gradient
BEST: Mapping[str, tuple[float, ...]] = {  # in the order of GRADIENTS; knobs have no first and third
    "fold": (0.003, 0.003, 0.003, 0.01, 0.03, 0.003),
    "gate": (0.01, 0.003, 0.003, 0.003, 0.03, 0.01),
    "compressor": (0.01, 0.003, 0.003, 0.003, 0.03, 0.03),
    "crush": (0.01, 0.003, 0.01, 0.003, 0.03, 0.01),
    "codec": (0.01, 0.003, 0.003, 0.003, 0.01, 0.003),
    "knobs": (0.01, 0.003, 0.01, 0.003, 0.003, 0.003),
}
# What hg.doctor.examine says of the first eight rows of seed 100, untrained.
SCALES: Mapping[str, tuple[float, ...]] = {
    "fold": (0.0141,),
    "gate": (0.0141,),
    "compressor": (0.0141,),
    "crush": (0.253,),
    "codec": (0.303,),
    "knobs": (*[0.0156] * 5, 0.25, *[0.0156] * 4),  # the sixth, a frequency, is idle at first: its filter is at 0 dB
}


def configured(budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Trial:
    """Return a configuration: rate, scale and share are those of a box and a gradient unless they are given."""
    scale = (0.05,) if contestant == "two-point-weights" else SCALES[task]
    own = {
        "lr": BEST[task][GRADIENTS.index(contestant)],
        "scale": scale,
        "share": 0.25 if contestant == "bridge-online" else 0.5,
    }
    return Trial(task=task, contestant=contestant, budget=budget, **{**SIZES[budget], **own, **given})


BOXES = Experiment(
    name="boxes",
    about="Train a filter before a wavefolder, gate, compressor, crusher or codec, and a controller of ten knobs.",
    source="The contest of Steinmetz et al. 2022, in small and on other boxes",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.boxes.run",
    tasks={name: {} for name in TASKS},
    contestants={name: {} for name in GRADIENTS},
    # Ten knobs are no sound, so there is nothing to copy; and they are few enough to move themselves.
    without=[("knobs", "straight-through"), ("knobs", "two-point-weights")],
    seeds={"smoke": 1, "small": 3, "paper": 5},
    maker=configured,
    ask=Ask(options={"task": "box", "contestant": "gradient"}, usual={"task": ("compressor",)}, seeds=1),
    columns=OWN,
    metrics=[
        Metric(name="esr", title="error", form=".2g", better="less"),
        Metric(name="esr_none", title="untrained", form=".2g", better=None),
        Metric(name="esr_gain", title="best gain", form=".2g", better=None),
        Metric(name="box_calls", title="calls", form=",.0f", better=None),
    ],
    claims=[
        Claim(says=says, source=source, task=task, metric="esr", better=better, worse=worse, aside=OWN)
        for says, source, task, better, worse in (
            ("two-point is better than a hybrid", "DeepAFx-ST: 0.635, 1.058", "knobs", "two-point", "bridge-frozen"),
            ("a copied gradient fails where slopes turn over", "ours", "fold", "bridge-frozen", "straight-through"),
            ("a copy is hard to beat near the identity", "ours", "codec", "straight-through", "bridge-online"),
        )
    ],
    figures="hardgrad_lab.experiments.bridges.boxes.section:draw",
    parts=[Part(anchor="boxes", title="Through real boxes")],
    sections="hardgrad_lab.experiments.bridges.boxes.section:brief",
    brief=True,
)
