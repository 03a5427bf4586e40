"""Figure 3: a smooth network fits the epsilon-margin signum, and its gradient is what a bridge lends.

The hard function is 1 above the margin, -1 below minus the margin and 0 between; a dense ELU network with an
un-activated last layer fits it in least squares on x drawn from U(-1, 1). The figure shows its outputs and gradients
near the beginning, midway and at the end of training. It has no numbers, so ours are measures of the same thing: the
error, and where the gradient lies.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section III, equation 1, figure 3. The paper says "a small three
layer ELU dense network" and Adam; width, steps, batch and rate are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardgrad_lab.runs.experiment import Budget, Experiment, Part
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.published import Metric


@dataclass(frozen=True, kw_only=True)
class Figure3:
    """One configuration of figure 3, seed apart.

    Args:
        task: the hard function.
        contestant: the network that fits it.
        budget: the preset the other values started from.
        margin: half width of the zero band.
        width: features of the hidden layers.
        layers: dense layers in all, the last without an activation.
        steps: of the optimiser.
        batch: numbers drawn anew in each step.
        lr: Adam's learning rate.
        points: of x between -1 and 1 at which outputs and gradients are looked at.
    """

    task: str
    contestant: str
    budget: Budget
    margin: float
    width: int
    layers: int
    steps: int
    batch: int
    lr: float
    points: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, least in {"width": 1, "layers": 2, "steps": 3, "batch": 1, "points": 3}.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        require(self.lr > 0, "lr", "greater than 0", self.lr)
        require(0 < self.margin < 1, "margin", "between 0 and 1", self.margin)


FIGURE3 = Experiment(
    name="figure3",
    about="Watch a network fit a hard signum, and the gradient that it would lend.",
    source="Ramapuram and Webb 2020, figure 3",
    config=Figure3,
    program="hardgrad_lab.experiments.bridges.figure3.run",
    figures="hardgrad_lab.experiments.bridges.figure3.figures:draw",
    parts=[Part(anchor="figure-3", title="Figure 3: a network fits a hard signum")],
    common={"margin": 0.5, "width": 64, "layers": 3, "batch": 256, "lr": 1e-3, "points": 401},
    tasks={"signum": {}},
    contestants={"elu-dense": {}},
    budgets={"smoke": {"steps": 50, "points": 41}, "small": {"steps": 10_000}, "paper": {"steps": 50_000}},
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[
        Metric(name="error", title="mean squared error", form=".4f", better="less"),
        Metric(name="gradient_at_jumps", title="gradient near a jump", form=".2f", better=None),
        Metric(name="gradient_elsewhere", title="gradient elsewhere", form=".2f", better=None),
    ],
)
