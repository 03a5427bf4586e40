"""How the points of a switch learn along a run: placed anew every so often, or by a gradient of the rows near them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.switches.points import WIDE
from hardgrad_lab.experiments.switches.rows import Part, some
from hardgrad_lab.experiments.switches.settings import Setup

# Of points that are placed: from when and how often, by how many rows (at the very end by all), when they rest; how
# much the branches' weights decay meanwhile, and till when. Branches that know nothing yet would lead points astray.
# Shares are of the run.
FROM, EVERY, BY, RESTS, DECAY, DECAYS = 0.2, 25, 100_000, 0.8, 1.0, 0.5
MOVES, MOVED = 12, 0.65  # how often in a run a range may move to where one is missing, and till when
WINDOW = 0.1  # how far a point may move at once, of the narrower range beside it at the start
NARROW = 0.1  # how far points that learn by a lent gradient look at last


class Learning:
    """How the points of a switch learn along a run; stepped as a schedule is. Other points are left alone.

    Points that are placed move every so often to where the branches as they are predict the rows best, and now and then
    a range that is not needed moves to where one is missing. Weight decay keeps the branches plain meanwhile: one that
    can already bend at a break has no need of a point there. Then the decay ends, the points rest and the branches
    come to an end. Points with a gradient look far at first and near at last.

    Args:
        setup: of the run.
        model: a switch or a rival.
        optimizer: of its branches, in the first group.
        part: training rows, some of which place the points.
    """

    def __init__(self, setup: Setup, model: nn.Module, optimizer: torch.optim.Optimizer, part: Part) -> None:
        self.switch = learning_switch(model)
        self.by_gradient, self.steps, self.taken = setup.points == "lent", setup.steps, 0
        self.optimizer, self.group = optimizer, optimizer.param_groups[0]
        self.all, self.few = part, some(part, BY, 0)
        self._set()

    @property
    def placed(self) -> hg.LearnedRanges | None:
        """Return the ranges whose points are placed; None if there are none such."""
        ranges = None if self.switch is None or self.by_gradient else self.switch.ranges
        return ranges if isinstance(ranges, hg.LearnedRanges) else None

    def step(self) -> None:
        """Count a step; move the points if it is time."""
        self.taken += 1
        self._set()
        share = self.taken / self.steps
        last = self.taken == self.steps
        if self.switch is None or self.by_gradient or ((self.taken % EVERY or not FROM <= share <= RESTS) and not last):
            return
        part = self.all if last else self.few
        rows = part.x, part.key, part.y
        if self.taken % (self.steps // MOVES) < EVERY and share <= MOVED:
            hg.switch.relocate(self.switch, *rows, self.optimizer)
        hg.switch.refine(self.switch, *rows, _squared_error, window=WINDOW)

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were taken."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.taken = state["taken"]
        self._set()

    def _set(self) -> None:
        share = self.taken / self.steps
        if self.switch is not None and self.by_gradient and isinstance(self.switch.ranges, hg.LearnedRanges):
            self.switch.ranges.band = None if share >= RESTS else WIDE * (NARROW / WIDE) ** (share / RESTS)
        elif self.switch is not None:
            self.group["weight_decay"] = DECAY * max(0.0, 1 - share / DECAYS)


def learning_switch(model: nn.Module) -> hg.Switch | None:
    """Return the model if it is a switch whose points learn."""
    return model if isinstance(model, hg.Switch) and isinstance(model.ranges, hg.LearnedRanges) else None


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(1)
