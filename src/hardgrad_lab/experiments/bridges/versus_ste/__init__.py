"""Figure 8, right: a bridge against straight-through, with a sort of all values as the last activation.

The map of a picture is flattened and sorted as a whole, so that input and output have one shape and straight-through
can take part. Beside the two that the paper compares stand what else gives the layers before a gradient: ``exact`` is
autograd's own, the transposed permutation, which is right wherever no two values are equal; ``none`` gives nothing, so
that the layers before stay as they were drawn; ``identity`` does not sort. A soft twin of a sort of this length would
need its square of memory for each picture, and is left out.

The paper shows curves; its abstract speaks of an improvement of 25 % over straight-through, its text of a clear one.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-E, figure 8 right; straight-through after Bengio, Leonard
and Courville 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.classify import ACCURACY, MIRRORED, RELATIVE_ERROR
from hardgrad_lab.experiments.bridges.classify.config import BUDGETS, COMMON, LATER, Classification
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim

VERSUS_STE = Experiment(
    name="versus_ste",
    about="Sort all values of the last feature map, with the gradient of a bridge, of straight-through, and others.",
    source="Ramapuram and Webb 2020, figure 8 right",
    config=Classification,
    program="hardgrad_lab.experiments.bridges.classify.run",
    figures="hardgrad_lab.experiments.bridges.versus_ste.figures:draw",
    parts=[Part(anchor="figure-8-right", title="Figure 8, right: against straight-through")],
    common=COMMON,
    tasks={"cifar10": {}},
    contestants={
        **{name: {"layer": "sort-1d", "gradient": name} for name in ("bridge", "straight-through", "exact", "none")},
        "identity": {"layer": "identity"},
    },
    budgets=BUDGETS,
    seeds={"smoke": 1, "small": 3, "paper": 5},
    later=LATER,
    metrics=[ACCURACY, MIRRORED, RELATIVE_ERROR],
    claims=[
        Claim(
            says=says,
            source="abstract and section IV-E" if worse == "straight-through" else "ours",
            task="cifar10",
            metric="accuracy",
            better="bridge",
            worse=worse,
        )
        for worse, says in {
            "straight-through": "a bridge clearly outperforms straight-through",
            "none": "a bridge is better than no gradient at all",
            "exact": "a bridge is better than the exact gradient",
        }.items()
    ],
)
