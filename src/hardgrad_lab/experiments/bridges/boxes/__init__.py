"""Networks trained through real boxes: layers before one, and a controller of ten knobs, each gradient at equal calls.

Layers: the target is ``box(hidden filter(dry))``, the network a filter or a small convolutional network before the same
box. Controller: a network looks at a dry sound and sets the ten knobs of a chain of plug-ins, as a hidden one did.

Source: the contest is that of Steinmetz et al. 2022 (arXiv 2207.08759) on gradients for audio effects, in small and on
other boxes; the two-point gradient after Spall 1992.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hardgrad_lab.runs.experiment import Ask, Budget, Experiment, Part
from hardgrad_lab.runs.options import require

Source = Literal["recordings", "drawn"]
Network = Literal["filter", "convolutions"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A network before a box, trained by one gradient, seed apart.

    Args:
        task: the box; ``knobs`` is the controller of a chain of plug-ins.
        contestant: the gradient of the box.
        budget: the preset the other values started from.
        source: recordings of the data folder, or tones and bursts that are drawn.
        network: what is trained before a box: a filter of 32 taps, or three convolutions.
        calls: rows that the box may compute in training, those an approximator is shown first counted in.
        batch: rows of a step.
        length: samples of a row, 11,025 a second.
        lr: Adam's, of the network; falls to nothing along a cosine.
        scale: how far two-point and score function move the box's input; for knobs, whose range is 0 to 1, of each.
        draws: inputs that the score function tries for a row.
        share: of the calls, what a bridge's approximator learns from before the network does.
        width: channels of the approximator.
        learned_lr: Adam's, of the approximator.
    """

    task: str
    contestant: str
    budget: Budget
    source: Source
    network: Network = "filter"
    calls: int
    batch: int = 4
    length: int
    lr: float
    scale: tuple[float, ...]
    draws: int = 4
    share: float = 0.5
    width: int = 16
    learned_lr: float = 0.003

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, allowed in {"source": get_args(Source), "network": get_args(Network)}.items():
            require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name, least in {"calls": 1, "batch": 1, "length": 256, "draws": 2, "width": 1}.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        for name in ("lr", "learned_lr"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
        require(0 < self.share < 1, "share", "between 0 and 1", self.share)
        require(len(self.scale) in (1, KNOBS) and min(self.scale) > 0, "scale", "one or ten numbers > 0", self.scale)


KNOBS = 10
LAYERS = ("fold", "gate", "compressor", "crush", "codec")
TRAINED = ("straight-through", "two-point", "two-point-weights", "score-function", "bridge-frozen", "bridge-online")
# Chosen from RATES by the last test error of seed 100 at the small budget, which is not among the recorded seeds.
RATES = (0.001, 0.003, 0.01)
CHOSEN: Mapping[tuple[str, str], float] = {}
# In the unit of the box's input.
SCALES: Mapping[str, tuple[float, ...]] = {}
OWN: Mapping[str, Mapping[str, Any]] = {"bridge-online": {"share": 0.25}}
SIZES: Mapping[Budget, Mapping[str, Any]] = {
    "smoke": {"source": "drawn", "calls": 96, "length": 512},
    "small": {"source": "recordings", "calls": 4_000, "length": 2_048},
    "paper": {"source": "recordings", "calls": 40_000, "length": 11_025},
}


def configured(budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Trial:
    """Return a configuration: the learning rate and scale chosen for a box and gradient, unless they are given."""
    chosen = {"lr": CHOSEN.get((task, contestant), 0.003), "scale": SCALES.get(task, (0.05,))}
    return Trial(task=task, contestant=contestant, budget=budget, **{**SIZES[budget], **OWN.get(contestant, {}), **chosen, **given})


BOXES = Experiment(
    name="boxes",
    about="Train layers before a wavefolder, gate, compressor, crusher or codec, and a controller of ten knobs.",
    source="Steinmetz et al. 2022, in small and on other boxes",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.boxes.run",
    tasks={name: {} for name in (*LAYERS, "knobs")},
    contestants={name: {} for name in (*TRAINED, "none", "gain")},
    # Ten knobs are no sound: there is nothing to copy a gradient to. And they are the box's input themselves.
    without=[("knobs", "straight-through"), ("knobs", "two-point-weights")],
    seeds={"smoke": 1, "small": 3, "paper": 5},
    maker=configured,
    ask=Ask(options={"task": "box", "contestant": "gradient"}, usual={"task": ("compressor",)}, seeds=1),
    parts=[Part(anchor="boxes", title="Through real boxes")],
    sections="hardgrad_lab.experiments.bridges.boxes.section:brief",
    page="hardgrad_lab.experiments.bridges.boxes.section:page",
    brief=True,
)
