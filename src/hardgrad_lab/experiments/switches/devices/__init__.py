"""Recorded devices: a pedal with a knob, compressors, a gate, a transient shaper, by models of every kind.

``klon`` is the gain stage of a Klon Centaur by SPICE at five positions of its knob: 112 guitar clips to train on, 16 to
choose weights by, 32 for the test. ``gentle``, ``medium`` and ``heavy`` are a TubeTech CL 1B, an optical compressor, at
three settings: a sweep and a hi-hat to train on, a bass to choose weights by, a guitar and a kick for the test.
``drums`` is one drum kit through an aggressive compressor, its last 30 % for the test. ``gate`` and ``transient`` are
LADSPA plug-ins on a tabla with noise, tested on its last 30 % and on hits of a drum kit.
A wavefolder and a crusher from wrong points are the experiment ``waveshaper``, the talk's five lines ``piecewise``.

The error is the ESR, the energy of what is wrong in the energy of the device's output, of each test sound after it
has settled, and of them all the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.published import Claim, Metric, Published


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One model of one device.

    Args:
        task: the device.
        contestant: who imitates it.
        budget: the preset the other values started from.
        system: a kind of model, or a published network.
        hidden: width of a memory, or of each of two layers of a range's network.
        window: samples that a model of a window sees.
        passes: how often it hears a batch of places, eight updates each where the recordings are long enough.
        noise_db: level of the noise in the drum loops of gate and transient.
    """

    task: str
    contestant: str
    budget: str
    system: str
    hidden: int
    window: int
    passes: int
    noise_db: float

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("hidden", "window", "passes"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.noise_db <= 0, "noise_db", "at most 0", self.noise_db)


COMPRESSED = ("gentle", "medium", "heavy", "drums")
TASKS = ("klon", *COMPRESSED, "gate", "transient")
THEIRS = {f"their-{name}": name for name in ("lstm", "feed-forward", "encoder-decoder")}
ONLY = {  # tasks of contestants that make no sense elsewhere
    "compressor": (*COMPRESSED, "transient"),
    "gate": ("gate",),
    "their-lstm": ("gentle", "heavy"),  # of medium, the files are silent
    "their-feed-forward": ("gentle", "heavy"),
    "their-encoder-decoder": ("gentle", "medium", "heavy"),
}
SEARCHED = ("compressor", "envelope", "gate")  # begin with a search, and hear a quarter of the batches after it
OURS = ("switch", "plain", "told", "constant", "filter", "table", *SEARCHED, "gru", "lstm")

DEVICES = Experiment(
    name="devices",
    about="Imitate recorded devices: a pedal's knob, compressors, a gate, a transient shaper.",
    source="Published models of the same recordings",
    config=Setup,
    program="hardgrad_lab.experiments.switches.devices.run",
    common={"hidden": 8, "window": 64, "noise_db": -35.0},
    tasks={task: {} for task in TASKS},
    contestants={name: {"system": "plain-total" if name == "plain" else name} for name in (*OURS, *THEIRS)},
    budgets={"smoke": {"passes": 1}, "small": {"passes": 200}, "paper": {"passes": 10_000}},
    without=[(task, name) for name, only in ONLY.items() for task in TASKS if task not in only],
    seeds={"smoke": 1, "small": 3, "paper": 1},
    metrics=[
        Metric(name="esr", title="ESR", form=".2%", better="less"),
        Metric(name="parameters", title="numbers", form=".0f", better=None),
        Metric(name="active", title="a sample", form=".0f", better=None),
    ],
    published={
        **{
            ("klon", name): {"esr": Published(value=0.00832, source="arXiv 2009.02833, mean of five GRUs")}
            for name in ("gru", "lstm")
        },
        **{
            (mode, "lstm"): {"esr": Published(value=value, source="DAFx 2022, their files of results")}
            for mode, value in {"gentle": 0.0076, "medium": 0.0464, "heavy": 0.1283}.items()  # mean of guitar and kick
        },
    },
    claims=[
        Claim(says=says, source="ours", task=task, metric="esr", better=better, worse=worse, aside=["system"])
        for says, task, better, worse in (
            ("a memory of eight units is better than a window of ten times its numbers", "klon", "lstm", "plain"),
            ("ranges of the sample are better than one network of equal size", "klon", "switch", "plain"),
            *(
                (says, task, better, worse)
                for task in ("gentle", "medium", "heavy")
                for says, better, worse in (
                    ("a compressor is better than the best constant gain of each sound", "compressor", "told"),
                    ("ranges of the envelope are better than a window of equal size", "envelope", "plain"),
                )
            ),
            ("a compressor is better than the published network", "heavy", "compressor", "their-lstm"),
            ("a gate is better than a memory", "gate", "gate", "lstm"),
        )
    ],
    figures="hardgrad_lab.experiments.switches.devices.figures:draw",
    parts=[Part(anchor="devices", title="Recorded devices")],
    brief=True,
)
