"""The rivals of a fitted switch: which there are, and what each makes of the test rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from threadpoolctl import threadpool_limits  # scikit-learn brings it
from torch import Tensor, nn

from hardgrad_lab import baselines
from hardgrad_lab.fit.rivals import budget
from hardgrad_lab.fit.rivals.class_rivals import CLASS_SOLVERS
from hardgrad_lab.fit.rivals.scores import LeftOut
from hardgrad_lab.fit.rivals.solved import SOLVERS, Setting
from hardgrad_lab.fit.rows import Array, Rows
from hardgrad_lab.fit.training.branches import Factory
from hardgrad_lab.fit.training.forward import forward
from hardgrad_lab.fit.training.network import Architecture, branch_maker
from hardgrad_lab.fit.training.training import Training

TRAINED = ("plain-total", "plain-active", "condition-input")
NO_WIDTH = "a branch of this kind has no width to change"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a rival made of the test rows.

    Args:
        outputs: (n, T), scaled as the task's targets.
        described: what it is, in a line.
        counts: of its parameters.
        updates: that it took; 0 for one that was solved.
        seconds: that it took.
    """

    outputs: Array
    described: str
    counts: baselines.Counts
    updates: int
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Return what a score says of the model besides how good it is."""
        return {
            "described": self.described,
            "parameters": self.counts.total,
            "active": self.counts.active,
            "updates": self.updates,
            "seconds": self.seconds,
        }


def rivals_of(
    architecture: Architecture, factory: Factory | None, *, classes: bool = False
) -> tuple[list[str], list[LeftOut]]:
    """Return the names of the rivals that a switch is compared with, and those that cannot be, with the reason."""
    if classes:
        return _class_rivals_of(architecture, factory)
    solved = [name for name in SOLVERS if name != "table" or architecture.in_features == 1]
    if architecture.branch == "linear":
        reason = "a linear branch has no width to change, and its best weights are the ridge line's"
        return solved, [LeftOut(name=name, reason=reason, possible=False) for name in TRAINED]
    if not has_width(architecture, factory):
        others = [LeftOut(name=name, reason=NO_WIDTH, possible=False) for name in TRAINED if name != "plain-active"]
        return ["plain-active", *solved], others
    return [*TRAINED, *solved], []


def _class_rivals_of(architecture: Architecture, factory: Factory | None) -> tuple[list[str], list[LeftOut]]:
    if has_width(architecture, factory):
        return [*TRAINED, *CLASS_SOLVERS], []
    return [*CLASS_SOLVERS], [LeftOut(name=name, reason=NO_WIDTH, possible=False) for name in TRAINED]


def has_width(architecture: Architecture, factory: Factory | None) -> bool:
    """Return whether a branch can be made as large as a rival should be; one of the user's own cannot."""
    if factory is not None or ":" in architecture.branch:
        return False
    make = branch_maker(architecture, None)
    inputs = architecture.in_features
    return baselines.size(lambda: make(inputs, 1.0)) != baselines.size(lambda: make(inputs, 2.0))


def build_rival(name: str, architecture: Architecture, points: tuple[float, ...], factory: Factory | None) -> nn.Module:
    """Return a rival that trains, with weights drawn from torch's global seed."""
    raw = architecture.raw
    return baselines.build(
        name,
        architecture.in_features,
        architecture.out_features,
        ranges=points,
        key_columns=[] if raw is None else [raw],
        branch=branch_maker(architecture, factory),
    ).to(architecture.dtype)


def refused(rival: baselines.Counts, architecture: Architecture, switch: Training, branch: int) -> str | None:
    """Return why a rival is not trained for as many updates as the switch, None if it is.

    Args:
        rival: its parameters.
        architecture: of the switch.
        switch: its training, done.
        branch: parameters of one of its branches.
    """
    if not switch.steps:
        return "the switch was solved without a step, so there are no updates to equal"
    costs = [budget.multiply_adds(architecture.branch, count, architecture.window) for count in (rival.active, branch)]
    return budget.too_dear(costs[0], costs[1], switch.steps * switch.recipe.batch_size)


def train_rival(
    name: str,
    rival: nn.Module,
    switch: Training,
    train: Callable[[Training], None],
    predict: tuple[Rows, Tensor],
) -> tuple[Training, Outcome]:
    """Train a rival for as many updates as the switch took.

    Args:
        name: of the rival.
        rival: a network.
        switch: the switch's training, done.
        train: brings a training to its end; may raise to stop.
        predict: rows, and which of them to predict.

    Returns:
        The training, done, and what the rival made of the rows.

    Raises:
        DivergedError: if its loss became no finite number.
    """
    rival = rival.to(switch.task.rows.key.device)
    training = Training(rival, switch.task, replace(switch.recipe, epochs=switch.epoch, patience=switch.epoch))
    train(training)
    outputs: Array = forward(rival.cpu().double(), *predict).numpy()
    counts, described = baselines.counts(rival), baselines.describe(name)
    outcome = Outcome(
        outputs=outputs, described=described, counts=counts, updates=training.steps, seconds=training.seconds
    )
    return training, outcome


def solve_rival(name: str, setting: Setting, predict: tuple[Rows, Tensor]) -> Outcome | LeftOut:
    """Solve a rival, and return what it made of chosen rows; or why it was not solved."""
    if not setting.classes and (reason := budget.too_wide(name, setting.design.columns)):
        return LeftOut(name=name, reason=reason)
    began = time.monotonic()
    with threadpool_limits(1):  # one order of all sums, however many cores are free
        solved = (CLASS_SOLVERS if setting.classes else SOLVERS)[name](setting)
        seconds = time.monotonic() - began
        outputs = solved.predict(*predict)
    counts = baselines.Counts(total=solved.parameters, active=solved.active)
    return Outcome(outputs=outputs, described=solved.described, counts=counts, updates=0, seconds=seconds)
