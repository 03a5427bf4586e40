"""Cheapest paths over handwritten digits: a network says what each cell costs, and is shown cheapest paths alone.

A picture is a square of MNIST digits; to enter a cell costs its digit and 1. A path goes from the first cell to the
last by steps to the right, down, or both at once, so that costs below zero, which perturbations make, close no circle
and every solution is exact. Measured on squares of test digits: the share of paths that truly cost the least, and how
much more than the least they cost. Losses: squared distance from the true path for what lends a gradient;
``fenchel-young`` and ``spo-plus`` are losses themselves, and ``spo-plus`` alone is shown the costs.

After the contest of Vlastelica et al. 2020 (arXiv 1912.02175) on maps of a game, which are not at hand; so no number of
theirs stands here.
"""

from __future__ import annotations

from typing import Any

from hardgrad_lab.experiments.bridges.trial import Trial
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric

GRADIENTS: dict[str, dict[str, Any]] = {
    "identity": {}, "negative-identity": {}, "interpolated": {"softness": 10.0, "lr": 0.001},
    "perturbed": {"samples": 8, "softness": 0.3, "lr": 0.001}, "imle": {}, "fenchel-young": {}, "spo-plus": {},
    "bridge": {},
}  # fmt: skip

PATHS = Experiment(
    name="paths",
    about="Learn what cells cost from cheapest paths over squares of handwritten digits.",
    source="The contest of Vlastelica et al. 2020, on squares of our own",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.drawn",
    common={"softness": 1.0, "lr": 0.003},
    tasks={"6": {"size": 6}, "12": {"size": 12}},
    contestants=GRADIENTS,
    budgets={
        "smoke": {"width": 4, "steps": 4, "batch": 4, "test_rows": 16, "evaluations": 2},
        "small": {"width": 8, "steps": 300, "batch": 16, "test_rows": 1_000, "evaluations": 8},
        "paper": {"width": 32, "steps": 20_000, "batch": 64, "test_rows": 5_000, "evaluations": 50},
    },
    planned={"smoke": ["6"], "small": ["6"]},
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[
        Metric(name="optimal", title="cheapest paths", form=".1%"),
        Metric(name="regret", title="cost above the least", form=".2%", better="less"),
        Metric(name="solved", title="rows solved", form=",.0f", better=None),
    ],
    claims=[
        Claim(
            says=says, source="ours", task="6", metric="optimal", better=better, worse=worse, aside=["softness", "lr"]
        )
        for says, better, worse in (
            ("a copied gradient points the wrong way round", "negative-identity", "identity"),
            ("the Fenchel-Young loss is better than an interpolated solver", "fenchel-young", "interpolated"),
            ("a solver's own structure is better than a network that imitates it", "fenchel-young", "bridge"),
        )
    ],
    parts=[Part(anchor="paths", title="Cheapest paths over digits")],
    brief=True,
)
