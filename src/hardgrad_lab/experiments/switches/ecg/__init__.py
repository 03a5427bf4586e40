"""Heart signals: the electrocardiogram from the body's recoil (``bcg``, ``bcg-1``), and from the ``voice``.

Subject 001 trains. Two things are tested: recordings of 001 that were held out (``same``), and subject 020, of whom
nothing is ever trained on (``unseen``). The published window is 1 sample for the recoil and 80 for the voice; the
recoil is run with 80 besides, as one sample has no past.

Source: Clarke 2025, LACTOSE, and the author's published programs.
"""

from __future__ import annotations

from hardgrad_lab.experiments.switches.settings import ASK, COMMON, KEYS, NAMES, RAW, RIVALS, SEEDS, SMOKE, Setup
from hardgrad_lab.runs.experiment import Experiment, Part

RATE = 44_100 / 256

ECG = Experiment(
    name="ecg",
    about="Predict the electrocardiogram from the body's recoil (bcg, bcg-1) or from the voice (voice).",
    source="Clarke 2025, and the author's published programs",
    config=Setup,
    program="hardgrad_lab.experiments.switches.ecg.run",
    common={**COMMON, "experiment": "ecg"},
    tasks={"bcg": {"window": 80}, "bcg-1": {"window": 1}, "voice": {"window": 80}},
    contestants={"switch": {}, **RAW, **RIVALS},
    budgets={
        "smoke": {**SMOKE, "hidden": (8, 8)},
        "small": {"steps": 1_000, "batch": 256, "evaluations": 10, "hidden": (32, 32), "lr": 0.003},
        # The published program passes 151 times (voice) over some 18,000 rows; these are as many in batches of 256.
        "paper": {
            "steps": 10_000,
            "batch": 256,
            "evaluations": 40,
            "hidden": (100, 100),
            "lr": 0.003,
            "branch": "published",
            "activation": "gelu",
        },
    },
    seeds=SEEDS,
    names=NAMES,
    keys=KEYS,
    ask=ASK,
    parts=[Part(anchor="ecg", title="Heart signals")],
    page="hardgrad_lab.experiments.switches.ecg.figures:page",
    sections="hardgrad_lab.experiments.switches.section:brief",
    brief=True,
)
