"""Training one network on rows: epochs, a cosine learning rate, the best weights on held-out rows, bit-exact resuming.

The order of an epoch's rows and the learning rate follow from the seed and the step alone, so that a checkpoint needs
no stream: weights, optimizer, torch's random numbers, the best weights so far and the half-filled averages suffice.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.fit.training.forward import forward, uncounted
from hardgrad_lab.fit.training.learn_points import move_points
from hardgrad_lab.fit.training.schedule import learning_rate, optimizer_of, window_of
from hardgrad_lab.fit.training.task import Recipe, Task

HOPELESS = 1e6  # times a constant's loss: no learning rate that falls brings that back
WORSE = 10.0  # times a constant's loss, at the end
SAFE = 5e-3  # a learning rate that seldom diverges


class Watcher(Protocol):
    """Whoever is told how a training gets on."""

    def step(self, training: Training) -> None:
        """See the training after every step; must be cheap."""
        ...


@dataclass
class Training:
    """One network under training. ``model`` ends with the best weights.

    Args:
        model: called as ``model(x, key)``.
        task: what to learn from.
        recipe: how.
    """

    model: nn.Module
    task: Task
    recipe: Recipe
    steps: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_loss: float = math.inf
    best_epoch: int = 0
    diverged: str = ""

    def __post_init__(self) -> None:
        self.first_points = tuple(self.task.ranges.points)
        self.optimizer = optimizer_of(self.model, self.recipe)
        self._sum = torch.zeros((), dtype=torch.float64, device=self.task.rows.key.device)
        self._order: tuple[int, Tensor] | None = None

    @property
    def steps_an_epoch(self) -> int:
        """Return how many batches make an epoch; the last may be short."""
        return max(1, -(-len(self.task.train) // self.recipe.batch_size))

    @property
    def all_steps(self) -> int:
        """Return how many steps the recipe has in all."""
        return self.recipe.epochs * self.steps_an_epoch

    @property
    def epoch(self) -> int:
        """Return how many epochs are done."""
        return self.steps // self.steps_an_epoch

    @property
    def done(self) -> bool:
        """Return whether all epochs are done, or patience is at its end."""
        at_border = self.steps % self.steps_an_epoch == 0
        tired = at_border and bool(len(self.task.held_out)) and self.epoch - self.best_epoch > self.recipe.patience
        return self.steps >= self.all_steps or tired or bool(self.diverged)

    def run(self, watcher: Watcher | None = None, after_step: Callable[[], None] | None = None) -> None:
        """Train to the end from wherever it stands, and take the best weights; ``diverged`` says if it had to stop.

        Args:
            watcher: told after every step.
            after_step: called after every step; may raise to stop the training, which can go on later.
        """
        began = time.monotonic() - self.seconds
        self.model.train()
        if self.steps == 0:
            self._remember(self._measured()["held_out"] if len(self.task.held_out) else math.inf)
        while not self.done:
            self._step()
            self.seconds = time.monotonic() - began
            if self.steps % self.steps_an_epoch == 0:
                self._end_epoch()
            if watcher is not None:
                watcher.step(self)
            if after_step is not None:
                after_step()
        self._judge_the_end()
        if self.best is not None and (len(self.task.held_out) or self.diverged):
            with uncounted(self.model):  # visits are those of the whole training
                self.model.load_state_dict(self.best)
        self.model.eval()

    def average(self) -> float:
        """Return the mean training loss of this epoch so far. Waits for the device."""
        return float(self._sum) / max(1, self.steps % self.steps_an_epoch)

    def losses(self, rows: Tensor) -> Tensor:
        """Return the loss of each row, (len(rows),), of the model as it stands."""
        outputs = forward(self.model, self.task.rows, rows)
        return self.task.loss_of_rows(outputs, self.task.target[rows])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        state = {name: getattr(self, name) for name in _PLAIN}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "sum": self._sum}
        state["random"] = torch.get_rng_state()
        if self._sum.is_cuda:
            state["random_cuda"] = torch.cuda.get_rng_state(self._sum.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what ``state`` was taken from."""
        for name in _PLAIN:
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._sum = state["sum"].to(self._sum.device)
        torch.set_rng_state(state["random"])
        if "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"], self._sum.device)

    def _step(self) -> None:
        rows = self._batch()
        x, key = self.task.rows.take(rows)
        losses = self.task.loss_of_rows(self.model(x, key), self.task.target[rows])
        loss = self._average(losses, rows, key)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.steps, self.all_steps, self.recipe.lr)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._sum += loss.detach()
        self.steps += 1

    def _batch(self) -> Tensor:
        epoch, place = divmod(self.steps, self.steps_an_epoch)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            shuffled = torch.randperm(len(self.task.train), generator=generator)
            self._order = (epoch, self.task.train[shuffled.to(self.task.train.device)])
        size = self.recipe.batch_size
        return self._order[1][place * size : (place + 1) * size]

    def _end_epoch(self) -> None:
        average = float(self._sum) / self.steps_an_epoch
        self._sum.zero_()
        if not average < HOPELESS * self._constant:
            self._say_diverged(average)
            return
        self._place_points()
        point: dict[str, Any] = {"epoch": self.epoch, "seconds": self.seconds, "loss": average}
        if len(self.task.held_out):
            point |= self._measured()
        if (judged := point.get("held_out", average)) < self.best_loss:
            self._remember(judged)
        self.curve.append(point)

    def _remember(self, loss: float) -> None:
        state = self.model.state_dict()
        if all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point()):
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best = copy.deepcopy(state)

    def _judge_the_end(self) -> None:
        last = self.curve[-1]["loss"] if self.curve else 0.0
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
        window = window_of(self.steps / self.all_steps)
        if (
            window is None
            or not isinstance(self.task.ranges, hg.LearnedRanges)
            or not isinstance(self.model, hg.Switch)
        ):
            return
        move_points(self.model, self.task, window, self.first_points)

    def _average(self, losses: Tensor, rows: Tensor, key: Tensor) -> Tensor:
        return self.task.average(losses, rows, self.task.ranges.index(key), self.recipe.loss)

    def _measured(self) -> dict[str, Any]:
        rows, ranges = self.task.held_out, self.task.ranges
        losses, key = self.losses(rows).double(), self.task.rows.key[rows]
        index = ranges.index(key)
        weight = torch.ones_like(losses) if self.task.weight is None else self.task.weight[rows].double()
        zeros = torch.zeros(len(ranges), dtype=torch.float64, device=losses.device)
        means = (zeros.index_add(0, index, losses * weight) / zeros.index_add(0, index, weight)).tolist()
        # Weights are 1 on average over the rows trained on, not over these.
        scale = 1.0 if self.recipe.loss == "per_branch_mean" else float(weight.mean())
        held_out = float(self._average(losses, rows, key)) / scale
        # A range without a held-out row has no loss, which plain JSON says as null.
        return {"held_out": held_out, "ranges": [mean if math.isfinite(mean) else None for mean in means]}


_PLAIN = ("steps", "seconds", "curve", "best", "best_loss", "best_epoch", "diverged")
