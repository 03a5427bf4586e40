"""Linear branches under squared loss as a training of one step, which solves them."""

from __future__ import annotations

import hardgrad as hg
from hardgrad_lab.fit.training.closed_form import least_squares, set_lines
from hardgrad_lab.fit.training.learn_points import move_points
from hardgrad_lab.fit.training.schedule import WIDE
from hardgrad_lab.fit.training.training import Training

ROUNDS = 30  # of solving and moving points; three to six are usual


class Solving(Training):
    """A training whose one step is least squares on all its rows; its recipe has one epoch of one batch.

    Where points are learned, solving and moving them alternate until none moves. There the held-out rows judge the
    moves; where points are fixed they would have nothing to choose, so that there are none.
    """

    def _step(self) -> None:
        assert isinstance(self.model, hg.Switch)
        self._solve(self.model)
        if isinstance(self.task.ranges, hg.LearnedRanges):
            for _ in range(ROUNDS):
                if not move_points(self.model, self.task, WIDE, self.first_points):
                    break
                self._solve(self.model)
        rows = self.task.train
        self.task.ranges(self.task.rows.key[rows])  # counts each row as a visit
        self._sum += self._average(self.losses(rows), rows, self.task.rows.key[rows]).detach()
        self.steps += 1

    def _solve(self, switch: hg.Switch) -> None:
        task = self.task
        set_lines(switch.branches, least_squares(switch, task.rows, task.target, task.train, task.weight))

    def _place_points(self) -> None:
        """Leave the points: they were placed where the lines were solved."""
