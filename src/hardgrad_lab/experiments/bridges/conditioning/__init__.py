"""Figure 8, middle: does the bridge's penalty teach the layers before it to sort?

The text says that the regulariser conditions the layer before, so that its values come out partly sorted, and shows a
falling earth mover's distance between the input and the output of the sort. In the published program the penalty's
gradient into that layer cancels, so both are here: ``program``, where the penalty trains the approximator alone, and
``text``, where it reaches the layers before too. The paper gives no numbers.

Which distance the paper means it does not say; ours is defined in ``classify_emd.py``. It falls when values shrink
too, so ``disorder`` divides by what the worst order of the same values would cost: 0 is sorted, 1/2 random, 1 reversed.

The penalty asks for values that are easy to imitate. Sorted ones are, but so are small ones, and those in any order
that is always the same. A falling distance alone does not tell which it was.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-E, figure 8 middle.
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.classify import ACCURACY, RELATIVE_ERROR
from hardgrad_lab.experiments.bridges.classify.config import BUDGETS, COMMON, LATER, Classification
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric

CONDITIONING = Experiment(
    name="conditioning",
    about="Measure how far from sorted the input of a sort is, with the penalty kept from it and let through.",
    source="Ramapuram and Webb 2020, figure 8 middle",
    config=Classification,
    program="hardgrad_lab.experiments.bridges.classify.run",
    figures="hardgrad_lab.experiments.bridges.conditioning.figures:draw",
    parts=[Part(anchor="figure-8-middle", title="Figure 8, middle: how far from sorted")],
    common=COMMON,
    tasks={"cifar10": {}},
    contestants={
        "program": {"layer": "sort", "conditioning": False},
        "text": {"layer": "sort", "conditioning": True},
    },
    budgets=BUDGETS,
    seeds={"smoke": 1, "small": 3, "paper": 5},
    later=LATER,
    metrics=[
        Metric(name="emd", title="earth mover's distance", form=".3f", better="less"),
        Metric(name="emd_untrained", title="distance before training", form=".3f", better=None),
        Metric(name="disorder", title="disorder", form=".3f", better="less"),
        Metric(name="disorder_untrained", title="disorder before training", form=".3f", better=None),
        ACCURACY,
        RELATIVE_ERROR,
    ],
    claims=[
        Claim(
            says=f"the penalty teaches the layers before the sort to produce partly sorted values ({what})",
            source="section IV-E",
            task="cifar10",
            metric=metric,
            better="text",
            worse="program",
        )
        for metric, what in {"emd": "by distance", "disorder": "by order alone"}.items()
    ],
)
