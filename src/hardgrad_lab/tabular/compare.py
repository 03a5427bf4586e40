"""The rivals of a fitted switch: trained on the same rows for as many updates, or solved by least squares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from hardgrad_lab import baselines
from hardgrad_lab.tabular.branches import Factory
from hardgrad_lab.tabular.network import Architecture, branch_maker
from hardgrad_lab.tabular.training import Task, Training

TRAINED = ("plain-total", "plain-active", "condition-input")
SOLVED = ("constant", "best-gain", "linear")
PATIENCE_S = 20.0  # a rival may take four times as long as the switch, and this besides


class TooSlow(Exception):
    """A rival would take too long; nobody asked for it by name, so it is left out."""


def rivals_of(architecture: Architecture, factory: Factory | None) -> list[str]:
    """Return the names of the rivals that a switch can be compared with."""
    made_by_name = factory is None and ":" not in architecture.branch
    # A branch of the user's own has no width to change: only one of its own size can be built.
    if architecture.branch == "linear":  # one line is "linear", and no line has a width to give it more weights
        return list(SOLVED)
    trained = list(TRAINED) if made_by_name else ["plain-active"]
    static = made_by_name and architecture.in_features == 1
    return [*trained, *(["table"] if static else []), *SOLVED]


def build_rival(name: str, architecture: Architecture, points: tuple[float, ...], factory: Factory | None) -> nn.Module:
    """Return a rival with weights drawn from torch's global seed."""
    raw = architecture.raw
    return baselines.build(
        name,
        architecture.in_features,
        architecture.out_features,
        ranges=points,
        key_columns=[] if raw is None else [raw],
        branch=branch_maker(architecture, factory),
    ).to(architecture.dtype)


def solve(model: baselines.Solved, task: Task) -> None:
    """Solve a closed form on all training rows, in float64."""
    x, key = task.rows.take(task.train)
    model.double().solve(x.double(), key, task.target[task.train].double().unsqueeze(1))


def train_rival(
    model: nn.Module, switch: Training, tell: Callable[[Training], None], state: dict[str, Any] | None
) -> Training:
    """Train a rival for as many updates as the switch took.

    Args:
        model: the rival.
        switch: the switch's training, done.
        tell: called after every step; may raise to stop.
        state: of an earlier sitting, to continue from.

    Returns:
        The training, done.

    Raises:
        TooSlow: if it would take far longer than the switch did.
    """
    recipe = replace(switch.recipe, epochs=switch.epoch, patience=switch.epoch)
    training = Training(model, switch.task, recipe)
    if state is not None:
        training.load_state_dict(state)
    began, before = time.monotonic(), training.steps

    def after_step() -> None:
        tell(training)
        taken, passed = training.steps - before, time.monotonic() - began
        if taken >= 20 and passed / taken * training.all_steps > 4 * switch.seconds + PATIENCE_S:
            raise TooSlow

    training.run(after_step=after_step)
    return training
