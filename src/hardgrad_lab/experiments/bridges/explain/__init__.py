"""Explanation by k of ten features: a selector keeps k of each row, and a predictor must say the label from those.

The four problems are those of the published program, with the known probabilities as labels. What the label was made of
is the right choice. ``median_rank`` is the median rank of these features among all ten by the selector's logits, at
best (k + 1) / 2; the paper draws it as boxes and prints no number. ``l2x`` is the published relaxation: the largest of
k softmaxes with Gumbel noise, at 0.1. Trained together, as published, the two cheat: which features are kept tells the
label, and the predictor reads it. Here it learns from random subsets, and the selector from its frozen weights.
Each gradient gets as many evaluations of the predictor, ``score`` its 400 of a step at 100 rows.

Source: Chen, Song, Wainwright and Jordan 2018 (arXiv 1802.07814), section 4.1, and the authors' program; random
subsets: Jethani et al. 2021 (arXiv 2103.01890).
"""

from __future__ import annotations

from typing import Any

from hardgrad_lab.experiments.bridges.trial import Trial
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric

GRADIENTS: dict[str, dict[str, Any]] = {
    "score": {"samples": 4, "batch": 100}, "marginals": {}, "gumbel": {}, "l2x": {"softness": 0.1}, "relaxed": {},
    "exact-relaxed": {}, "bridge": {},
}  # fmt: skip
SMALL = {"steps": 400, "batch": 250, "test_rows": 10_000, "evaluations": 8}

EXPLAIN = Experiment(
    name="explain",
    about="Explain labels that are made of known features by the k features that a network keeps.",
    source="Chen et al. 2018, figure 2",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.drawn",
    common={"softness": 0.5, "width": 100, "lr": 0.001},
    tasks={"xor": {"size": 2}, "orange-skin": {"size": 4}, "additive": {"size": 4}, "switch": {"size": 5}},
    contestants=GRADIENTS,
    budgets={
        "smoke": {"steps": 4, "batch": 40, "test_rows": 100, "evaluations": 2},
        "small": SMALL,
        "paper": {**SMALL, "test_rows": 100_000},
    },
    planned={"smoke": ["switch"]},
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[
        Metric(name="precision", title="true features kept", form=".1%"),
        Metric(name="median_rank", title="median rank", form=".2f", better="less"),
        Metric(name="divergence", title="divergence from the label", form=".4f", better="less"),
    ],
    claims=[
        Claim(says=says, source="ours", task=task, metric="precision", better=better, worse=worse, aside=["softness"])
        for says, task, better, worse in (
            ("the marginals of a drawn subset are better than the published relaxation", "switch", "marginals", "l2x"),
            ("draws find what a choice without draws does not", "xor", "marginals", "exact-relaxed"),
            ("values of the loss alone are enough", "orange-skin", "score", "l2x"),
        )
    ],
    parts=[Part(anchor="explain", title="Explanation by k features")],
    brief=True,
)
