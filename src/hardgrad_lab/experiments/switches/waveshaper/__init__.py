"""Circuits with breaks: a wavefolder, a 3-bit crusher and a dead zone by formula, driven by real guitars and drums.

The contestants differ in how a switch comes to its points: the true ones, such as are off, learnt or searched.

Source: Clarke 2025, LACTOSE, and his talk at the Audio Developer Conference 2023; the circuits are ours.
"""

from __future__ import annotations

from hardgrad_lab.experiments.switches.settings import ASK, COMMON, KEYS, NAMES, RIVALS, SEEDS, SMOKE, TABLE, Setup
from hardgrad_lab.runs.experiment import Experiment, Part

PLAYED = ("switch", "switch-wrong", "switch-learnt", "plain-total")  # contestants whose sounds are kept

WAVESHAPER = Experiment(
    name="waveshaper",
    about="Imitate a wavefolder (fold), a 3-bit crusher (crush), a dead zone (dead-zone) on real guitars and drums.",
    source="Clarke 2025, and his talk at the Audio Developer Conference 2023",
    config=Setup,
    program="hardgrad_lab.experiments.switches.waveshaper.run",
    common={**COMMON, "experiment": "waveshaper"},
    tasks={"fold": {}, "crush": {}, "dead-zone": {}},
    contestants={
        "switch": {},
        "switch-wrong": {"points": "wrong"},
        "switch-learnt": {"points": "learnt"},
        "switch-lent": {"points": "lent"},
        "switch-near": {"points": "near"},
        "switch-learnt-near": {"points": "learnt-near"},
        "switch-searched": {"points": "searched"},
        **RIVALS,
        **TABLE,
    },
    budgets={
        "smoke": {**SMOKE, "hidden": (4, 4)},
        "small": {"steps": 1_500, "batch": 512, "rows": 200_000, "evaluations": 10, "hidden": (8, 8)},
        "paper": {"steps": 40_000, "batch": 512, "evaluations": 40, "hidden": (8, 8)},
    },
    seeds=SEEDS,
    names=NAMES,
    keys=KEYS,
    ask=ASK,
    parts=[Part(anchor="waveshaper", title="Circuits with breaks")],
    page="hardgrad_lab.experiments.switches.waveshaper.figures:page",
    sections="hardgrad_lab.experiments.switches.section:brief",
    brief=True,
)
