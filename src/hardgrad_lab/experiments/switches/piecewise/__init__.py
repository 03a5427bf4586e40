"""Maps of linear pieces: a number in, a number out, along straight lines that change at known points.

``talk`` is a continuous map of five pieces, as in the author's talk, whose own map is not published. ``toy`` is four
lines at random with jumps between them, one map a seed, after his program.

Source: Clarke 2025, LACTOSE, and his talk at the Audio Developer Conference 2023.
"""

from __future__ import annotations

from hardgrad_lab.experiments.switches.settings import ASK, COMMON, KEYS, NAMES, RAW, RIVALS, SEEDS, SMOKE, TABLE, Setup
from hardgrad_lab.runs.experiment import Experiment, Part

RATE = 44_100.0

PIECEWISE = Experiment(
    name="piecewise",
    about="Fit maps of linear pieces: the five of the author's talk (talk), four at random (toy).",
    source="Clarke 2025, and his talk at the Audio Developer Conference 2023",
    config=Setup,
    program="hardgrad_lab.experiments.switches.piecewise.run",
    common={**COMMON, "experiment": "piecewise"},
    tasks={"talk": {"hidden": (4, 4)}, "toy": {"hidden": (8, 8)}},
    contestants={
        "switch": {},
        **RAW,
        **RIVALS,
        "plain-8x8": {"system": "plain-active", "hidden": (8, 8)},
        **TABLE,
    },
    budgets={
        "smoke": SMOKE,
        "small": {"steps": 2_000, "batch": 512, "evaluations": 10},
        "paper": {"steps": 40_000, "batch": 512, "evaluations": 40},
    },
    seeds=SEEDS,
    names=NAMES,
    keys=KEYS,
    ask=ASK,
    parts=[Part(anchor="piecewise", title="Maps of linear pieces")],
    page="hardgrad_lab.experiments.switches.piecewise.figures:page",
    sections="hardgrad_lab.experiments.switches.section:brief",
    brief=True,
)
