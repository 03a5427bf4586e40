"""Pictures of Fashion-MNIST and CIFAR-10 from 49 or 64 numbers each: a VQ-VAE with 512 codes.

The loss is the squared error over the variance of pictures, and what the codebook adds by itself. Measured on test
pictures: mean squared error, white being 1; the share of codes that any of them takes; and perplexity, the number of
codes that would be in use if they were taken alike. ``levels`` has 8 x 8 x 8 combinations, ``lookup-free`` 9 bits;
``residual`` has two stages of 512, so twice the bits of the others. Those that begin with ``peer`` are
vector-quantize-pytorch's layer, as it comes or with our options; they run where it is installed, when asked for.

Sources: van den Oord et al. 2017 (arXiv 1711.00937); docs/guides/codebooks.md has those of each gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardgrad_lab.experiments.bridges.trial import Effort
from hardgrad_lab.runs.experiment import BUDGETS, Ask, Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric


@dataclass(frozen=True, kw_only=True)
class Coding(Effort):
    """One way to train pictures through a codebook, seed apart.

    Args:
        layer: what replaces vectors by codes.
        gradient: of the task, through a codebook.
        learn: how its codes learn.
        codes: how many there are, of each stage.
        commitment: weight of what draws vectors to their codes.
        decay: of the moving means, a step.
        revive: the share of the mean count of rows below which a code begins anew.
    """

    layer: str = "codebook"
    gradient: str = "copy"
    learn: str = "ema"
    codes: int
    commitment: float
    decay: float
    revive: float


OURS: dict[str, dict[str, Any]] = {
    "copy": {}, "copy-gradient": {"learn": "gradient"}, "simvq": {"learn": "simvq"},
    "rotation": {"gradient": "rotation"},
    "directional": {"gradient": "directional", "learn": "gradient"}, "bridge": {"gradient": "bridge"},
    "residual": {"layer": "residual"}, "levels": {"layer": "levels"}, "lookup-free": {"layer": "lookup-free"},
}  # fmt: skip
PEERS: dict[str, dict[str, Any]] = {
    "peer": {"layer": "peer", "gradient": "its own"}, "peer-copy": {"layer": "peer"},
    "peer-rotation": {"layer": "peer", "gradient": "rotation"},
}  # fmt: skip
TASKS = ("fashion-mnist", "cifar10")
ASIDE = ["layer", "gradient", "learn"]  # what a contestant is
SMALL = {"width": 16, "steps": 600, "batch": 32, "test_rows": 10_000, "evaluations": 4}

CODEBOOKS = Experiment(
    name="codebooks",
    about="Write a picture as 49 or 64 of 512 codes, and make it again from them.",
    source="van den Oord et al. 2017, section 4.1",
    config=Coding,
    program="hardgrad_lab.experiments.bridges.drawn",
    common={"codes": 512, "commitment": 0.25, "decay": 0.9, "revive": 0.1, "lr": 0.004},
    tasks={task: {} for task in TASKS},
    contestants={**OURS, **PEERS},
    budgets={
        "smoke": {"width": 4, "steps": 4, "batch": 16, "test_rows": 32, "evaluations": 2},
        "small": SMALL,
        "paper": {**SMALL, "width": 64, "steps": 250_000, "batch": 128},
    },
    unplanned=[(budget, task, peer) for budget in BUDGETS for task in TASKS for peer in PEERS],
    ask=Ask(usual={"contestant": tuple(OURS)}),
    seeds={"smoke": 1, "small": 3, "paper": 3},
    metrics=[
        Metric(name="error", title="test error", form=".5f", better="less"),
        Metric(name="used", title="codes in use", form=".1%"),
        Metric(name="perplexity", title="perplexity", form=".0f"),
    ],
    claims=[
        Claim(says=says, source=source, task="fashion-mnist", metric="error", better=better, worse=worse, aside=ASIDE)
        for says, source, better, worse in (
            ("a rotated gradient is better than a copied one", "arXiv 2410.06424, table 1", "rotation", "copy"),
            ("a directional gradient is better than a rotated one", "DiVeQ, section 5", "directional", "rotation"),
            ("codes that learn as one are better than each apart", "arXiv 2411.02038", "simvq", "copy-gradient"),
            ("ours is no worse than vector-quantize-pytorch's", "ours", "rotation", "peer"),
        )
    ],
    parts=[Part(anchor="codebooks", title="Pictures from codes")],
    brief=True,
)  # fmt: skip
