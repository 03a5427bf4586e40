"""Weights and activations of two bits: CIFAR-10 by a residual network of eight layers, one quantizer against another.

The six convolutions of the three blocks have weights of so many bits, and so have the activations that go into them;
the first layer and the last stay whole. ``lsq`` learns the step of every quantizer, ``pact`` where it clips.
``straight-through`` keeps the steps that lsq starts from and copies the gradient; ``bridge`` keeps them too, and an
approximator of one number lends the gradient. ``full`` is the same network without a quantizer. The network is narrow,
and its first layer halves the picture, so that ``small`` takes a minute on one core: nothing published compares.

Sources: Esser et al. 2019 (arXiv 1902.08153); Choi et al. 2018 (arXiv 1805.06085).
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.trial import Trial
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric

LOW_BIT = Experiment(
    name="low_bit",
    about="Train a small residual network with weights and activations of few bits on CIFAR-10.",
    source="The contest of Esser et al. 2019, on a smaller network",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.drawn",
    common={"softness": 1.0, "lr": 0.003},
    tasks={name: {"size": int(name)} for name in ("2", "3", "4")},
    contestants={"lsq": {}, "pact": {}, "straight-through": {}, "bridge": {}, "full": {}},
    budgets={
        "smoke": {"width": 4, "steps": 4, "batch": 8, "test_rows": 32, "evaluations": 2},
        "small": {"width": 8, "steps": 800, "batch": 48, "test_rows": 10_000, "evaluations": 8},
        "paper": {"width": 32, "steps": 78_000, "batch": 128, "test_rows": 10_000, "evaluations": 50},
    },
    planned={"smoke": ["2"], "small": ["2"]},
    seeds={"smoke": 1, "small": 3, "paper": 3},
    metrics=[
        Metric(name="accuracy", title="test rows right", form=".1%"),
        Metric(name="loss", title="cross-entropy", form=".3f", better="less"),
    ],
    claims=[
        Claim(says=says, source=source, task="2", metric="accuracy", better=better, worse=worse, aside=["softness"])
        for says, source, better, worse in (
            ("a step that learns is better than one that is fixed", "ours", "lsq", "straight-through"),
            ("to learn the step is better than to learn the clip", "arXiv 1902.08153", "lsq", "pact"),
            ("a bridge is better than a copied gradient", "ours", "bridge", "straight-through"),
            ("two bits cost accuracy", "arXiv 1902.08153", "full", "lsq"),
        )
    ],
    parts=[Part(anchor="low_bit", title="Weights and activations of two bits")],
    brief=True,
)
