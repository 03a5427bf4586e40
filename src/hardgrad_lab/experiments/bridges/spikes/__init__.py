"""Pictures named by a small spiking network: which gradient a spike should lend.

Two layers of leaky neurons: the membrane keeps 0.9 of itself a step, a spike is sent from 1 on and is taken off at the
next step, with no gradient through that. The picture is a constant current into the first layer; the answer is what ten
units that do not spike have gathered on average. ``none`` lends nothing, so that only the answer learns; ``identity``
copies. ``softness`` widens the derivative of every twin by that factor; at 1 each is 0.8 to 1 high, a fast sigmoid and
an arc tangent are snntorch's, a sigmoid is spikingjelly's. A bridge has an approximator for each layer, which it calls
at every step.

Source: the network is that of common tutorials; Neftci, Mostafa and Zenke 2019 (arXiv 1901.09948) on such gradients.
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.trial import Trial
from hardgrad_lab.runs.experiment import Ask, Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric

TWINS = ("fast-sigmoid", "triangle", "rectangle", "gaussian", "leaky", "arctan", "sigmoid")
NARROW, USUAL = {"width": 16, "size": 4}, {"width": 128, "size": 8}

SPIKES = Experiment(
    name="spikes",
    about="Name pictures by a spiking network that learns by each gradient of a spike.",
    source="Neftci et al. 2019",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.drawn",
    common={"softness": 1.0, "lr": 0.002},
    tasks={"fashion-mnist": {}, "mnist": {}},
    contestants={name: {} for name in (*TWINS, "identity", "none", "bridge")},
    budgets={
        "smoke": {**NARROW, "steps": 4, "batch": 16, "test_rows": 100, "evaluations": 2},
        "small": {**USUAL, "steps": 300, "batch": 100, "test_rows": 10_000, "evaluations": 6},
        "paper": {**USUAL, "steps": 6_000, "batch": 100, "test_rows": 10_000, "evaluations": 20},
    },
    planned={"smoke": ["fashion-mnist"]},
    ask=Ask(usual={"task": ("fashion-mnist",)}),
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[
        Metric(name="accuracy", title="test accuracy", form=".1%"),
        Metric(name="rate", title="spikes a neuron and step", form=".3f", better="less"),
    ],
    claims=[
        Claim(says=says, source="ours", task="fashion-mnist", metric="accuracy", better=better, worse=worse)
        for says, better, worse in (
            ("a spike that lends a gradient beats one that does not", "triangle", "none"),
            ("a triangle beats SuperSpike's derivative with snntorch's slope", "triangle", "fast-sigmoid"),
            ("a bridge beats a copied gradient", "bridge", "identity"),
        )
    ],
    parts=[Part(anchor="spikes", title="Gradients of a spike")],
    brief=True,
)
