"""Training one network on rows: by the loop of all runs, an evaluation an epoch, the best weights on held-out rows.

The order of an epoch's rows and the learning rate follow from the seed and the step alone. An epoch ends with points
that may move, the loss on held-out rows, and the weights kept where that is the best so far; patience may end it all.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.fit.training.forward import forward, uncounted
from hardgrad_lab.fit.training.learn_points import move_points
from hardgrad_lab.fit.training.schedule import RiseAndFall, optimizer_of, window_of
from hardgrad_lab.fit.training.task import Batches, Recipe, Task
from hardgrad_lab.runs import loop
from hardgrad_lab.runs.sittings import Sittings

HOPELESS = 1e6  # times a constant's loss: no learning rate that falls brings that back
WORSE = 10.0  # times a constant's loss, at the end
SAFE = 5e-3  # a learning rate that seldom diverges


class Training(Sittings):
    """One network under training. ``model`` ends with the best weights.

    Args:
        model: called as ``model(x, key)``.
        task: what to learn from.
        recipe: how.
    """

    def __init__(self, model: nn.Module, task: Task, recipe: Recipe) -> None:
        self.model, self.task, self.recipe = model, task, recipe
        self.first_points = tuple(task.ranges.points)
        batches, optimizer = Batches(task, recipe), optimizer_of(model, recipe)
        self.steps_an_epoch, self.all_steps = batches.in_an_epoch, recipe.epochs * batches.in_an_epoch
        self._run = loop.Training(
            model=model,
            optimizers=[optimizer],
            schedulers=[RiseAndFall(optimizer, self.all_steps, recipe.lr)],
            stream=batches,
            loss=self._loss,
            evaluate=self._end_epoch,
            enough=lambda: self.done,
            sums=torch.zeros(2, dtype=torch.float64, device=task.rows.key.device),
        )

    @property
    def done(self) -> bool:
        """Return whether all epochs are done, or patience is at its end."""
        at_border = self.steps % self.steps_an_epoch == 0
        tired = at_border and bool(len(self.task.held_out)) and self.epoch - self.best_epoch > self.recipe.patience
        return tired or super().done

    def losses(self, rows: Tensor) -> Tensor:
        """Return the loss of each row, (len(rows),), of the model as it stands."""
        outputs = forward(self.model, self.task.rows, rows)
        return self.task.loss_of_rows(outputs, self.task.target[rows])

    def _begin(self) -> None:
        self.model.train()
        if self.steps == 0:
            self._remember(self._measured()["held_out"] if len(self.task.held_out) else math.inf)

    def _end(self) -> None:
        self._judge_the_end()
        if self.best is not None and (len(self.task.held_out) or self.diverged):
            with uncounted(self.model):  # visits are those of the whole training
                self.model.load_state_dict(self.best)

    def _loss(self, rows: Tensor, target: Tensor) -> Tensor:
        x, key = self.task.rows.take(rows)
        losses = self.task.loss_of_rows(self.model(x, key), target)
        return self.task.average(losses, rows, self.task.ranges.index(key), self.recipe.loss)

    def _end_epoch(self, last: bool) -> dict[str, Any]:
        """Move points, measure, and keep the weights if they are the best; return what held-out rows lost."""
        del last
        average = self.average()
        if not average < HOPELESS * self._constant:
            raise loop.DivergedError(self._run.samples, {"loss": average})
        self._place_points()
        measured = self._measured() if len(self.task.held_out) else {}
        if (judged := measured.get("held_out", average)) < self.best_loss:
            self._remember(judged)
        return measured

    def _judge_the_end(self) -> None:
        last = self._run.curve[-1]["loss"] if self._run.curve else 0.0
        if not self.diverged and last > WORSE * self._constant:
            self._say_diverged(last)
        if not len(self.task.held_out) and not self.diverged:
            self.best_epoch = 0  # the last weights are kept

    def _say_diverged(self, loss: float) -> None:
        lr = self.recipe.lr
        smaller = SAFE if lr > SAFE else lr / 10
        kept = f"of epoch {self.best_epoch}" if self.best_epoch else "those it started from"
        self.diverged = (
            f"the training diverged at step {self.steps} (lr {lr:g}): its loss is {loss:.3g}, that of a constant "
            f"{self._constant:.3g}; kept are the best weights before that, {kept}; try a smaller "
            f"lr, such as {smaller:g}"
        )

    @cached_property
    def _constant(self) -> float:
        return max(0.1, self.task.constant_loss())  # a target that never varies has none

    def _place_points(self) -> None:
        """Put learned points where the branches, as they are, serve the rows best.

        The gradient that batches lend points is to first order in the jump between branches: at a kink, which has none,
        it left a point 14 % off that this places within 0.3 %.
        """
        window, learned = window_of(self.steps / self.all_steps), isinstance(self.task.ranges, hg.LearnedRanges)
        if window is not None and learned and isinstance(self.model, hg.Switch):
            move_points(self.model, self.task, window, self.first_points)

    def _measured(self) -> dict[str, Any]:
        rows, ranges = self.task.held_out, self.task.ranges
        losses, index = self.losses(rows).double(), ranges.index(self.task.rows.key[rows])
        weight = torch.ones_like(losses) if self.task.weight is None else self.task.weight[rows].double()
        zeros = torch.zeros(len(ranges), dtype=torch.float64, device=losses.device)
        means = (zeros.index_add(0, index, losses * weight) / zeros.index_add(0, index, weight)).tolist()
        # Weights are 1 on average over the rows trained on, not over these.
        scale = 1.0 if self.recipe.loss == "per_branch_mean" else float(weight.mean())
        held_out = float(self.task.average(losses, rows, index, self.recipe.loss)) / scale
        # A range without a held-out row has no loss, which plain JSON says as null.
        return {"held_out": held_out, "ranges": [mean if math.isfinite(mean) else None for mean in means]}
