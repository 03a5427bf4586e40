"""Figure 8, left: signum after the first, second, third or fourth stage of a network on CIFAR-10.

The paper shows curves and no numbers, and says that training stays stable with the function after the fourth stage. It
names no fifth contestant; the network without a hard function is there to compare with. All else is table VI's; the
fast setting's first stage is its whitening convolution.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-E, figure 8 left.
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.classify import ACCURACY, MIRRORED, RELATIVE_ERROR
from hardgrad_lab.experiments.bridges.classify.config import BUDGETS, COMMON, LATER, STAGES, Classification
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim

EARLY = tuple(f"stage-{stage}" for stage in range(1, STAGES))

PLACEMENT = Experiment(
    name="placement",
    about="Put a signum after each of the four stages of a network.",
    source="Ramapuram and Webb 2020, figure 8 left",
    config=Classification,
    program="hardgrad_lab.experiments.bridges.classify.run",
    figures="hardgrad_lab.experiments.bridges.placement.figures:draw",
    parts=[Part(anchor="figure-8-left", title="Figure 8, left: where the hard function stands")],
    common=COMMON,
    tasks={"cifar10": {}},
    contestants={
        "identity": {"layer": "identity"},
        **{f"stage-{stage}": {"layer": "signum", "stage": stage} for stage in range(1, STAGES + 1)},
    },
    budgets=BUDGETS,
    seeds={"smoke": 1, "small": 3, "paper": 5},
    later=LATER,
    metrics=[ACCURACY, MIRRORED, RELATIVE_ERROR],
    claims=[
        Claim(
            says=f"a signum after the fourth stage trains better than one at {stage}",
            source="section IV-E",
            task="cifar10",
            metric="accuracy",
            better="stage-4",
            worse=stage,
        )
        for stage in EARLY
    ],
)
