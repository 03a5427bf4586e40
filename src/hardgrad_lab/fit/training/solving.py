"""Linear branches under squared loss as a training of one step, which solves them."""

from __future__ import annotations

from collections.abc import Callable

import torch

import hardgrad as hg
from hardgrad_lab.fit.training.closed_form import least_squares, set_lines
from hardgrad_lab.fit.training.learn_points import move_points
from hardgrad_lab.fit.training.schedule import WIDE
from hardgrad_lab.fit.training.training import Training
from hardgrad_lab.runs import loop
from hardgrad_lab.runs.stopwatch import Stopwatch

ROUNDS = 30  # of solving and moving points; three to six are usual


class Solving(Training):
    """A training whose one step is least squares on all its rows; its recipe has one epoch of one batch.

    Where points are learned, solving and moving them alternate until none moves. There the held-out rows judge the
    moves; where points are fixed they would have nothing to choose, so that there are none.
    """

    def _learn(self, plan: loop.Plan, save: Callable[[], None], watcher: loop.Watcher) -> None:
        assert isinstance(self.model, hg.Switch)
        watch = Stopwatch(self.seconds)
        self._solve(self.model)
        if isinstance(self.task.ranges, hg.LearnedRanges):
            for _ in range(ROUNDS):
                if not move_points(self.model, self.task, WIDE, self.first_points):
                    break
                self._solve(self.model)
        rows = self.task.train
        index = self.task.ranges(self.task.rows.key[rows])  # counts each row as a visit
        average = self.task.average(self.losses(rows), rows, index, self.recipe.loss)
        self._run.count(average, torch.zeros_like(average), len(rows))
        self._run.seconds = watch.read()
        self._run.add_point(last=True)
        watcher.point(self._run)
        save()

    def _solve(self, switch: hg.Switch) -> None:
        task = self.task
        set_lines(switch.branches, least_squares(switch, task.rows, task.target, task.train, task.weight))

    def _place_points(self) -> None:
        """Leave the points: they were placed where the lines were solved."""
