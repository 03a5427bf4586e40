"""A training in one sitting or several, whose best weights are kept: what networks on rows and on sounds share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from hardgrad_lab.runs import loop


class Sittings:
    """A training that goes on where it was stopped, and ends with the best weights that it met.

    A subclass makes ``_run``, and says ``all_steps``, ``steps_an_epoch``, whether it is ``done``, and what comes first
    and last.

    Attributes:
        best: weights; None until some were measured.
        best_loss: what they were measured at, held out.
        best_epoch: the epoch that ended with them; 0 for those it began with.
        diverged: why it had to stop; empty if it did not.
    """

    best: dict[str, Tensor] | None = None
    best_loss, best_epoch, diverged = math.inf, 0, ""
    clip = 0.0  # largest norm of a gradient; 0 for any
    all_steps: int
    steps_an_epoch: int
    _run: loop.Training

    @property
    def steps(self) -> int:
        """Return how many steps are done."""
        return self._run.steps

    @property
    def seconds(self) -> float:
        """Return how long they took, in all sittings."""
        return self._run.seconds

    @property
    def epoch(self) -> int:
        """Return how many epochs are done."""
        return self.steps // self.steps_an_epoch

    @property
    def epochs(self) -> int:
        """Return how many there will be."""
        return self.all_steps // self.steps_an_epoch

    @property
    def curve(self) -> list[dict[str, Any]]:
        """Return for each epoch its number, the seconds so far, the loss, and what was measured."""
        points = enumerate(self._run.curve, 1)
        return [{"epoch": i, **{k: v for k, v in point.items() if k not in _OF_RUNS}} for i, point in points]

    @property
    def done(self) -> bool:
        """Return whether all steps are done, or it had to stop."""
        return self.steps >= self.all_steps or bool(self.diverged)

    def run(
        self,
        after_step: Callable[[], None] = lambda: None,
        save: Callable[[], None] = lambda: None,
        *,
        save_every_s: float = math.inf,
        save_every: int = 0,
    ) -> None:
        """Train to the end from wherever it stands, and take the best weights; ``diverged`` says if it had to stop.

        Args:
            after_step: called after every step, and what ends an epoch; may raise, and the training can go on later.
            save: writes a checkpoint.
            save_every_s: seconds between checkpoints.
            save_every: steps between checkpoints; 0 goes by the clock alone.

        Raises:
            Interrupted: if a signal stopped it, once a checkpoint is written.
        """
        self._begin()
        plan = loop.Plan(
            steps=self.all_steps,
            evaluate_every=self.steps_an_epoch,
            checkpoint_every_s=save_every_s,
            checkpoint_every=save_every,
            clip=self.clip,
        )
        if not self.done:
            try:
                self._learn(plan, save, _Watcher(self, after_step))
            except loop.DivergedError as error:
                self._say_diverged(error.averages["loss"])
                after_step()
        self._end()
        self._run.model.eval()

    def average(self) -> float:
        """Return the mean training loss of this epoch so far. Waits for the device."""
        return self._run.averages()["loss"]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {**self._run.state_dict(), **{name: getattr(self, name) for name in _OWN}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what ``state`` was taken from."""
        for name in _OWN:
            setattr(self, name, state[name])
        self._run.load_state_dict(state)

    def _learn(self, plan: loop.Plan, save: Callable[[], None], watcher: loop.Watcher) -> None:
        loop.train(self._run, plan, save, watcher)

    def _remember(self, loss: float) -> None:
        state = self._run.model.state_dict()
        if all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point()):
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best = copy.deepcopy(state)

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _say_diverged(self, loss: float) -> None:
        raise NotImplementedError


class _Watcher:
    """Calls a function after every step, and after what ends an epoch where one does."""

    def __init__(self, training: Sittings, after_step: Callable[[], None]) -> None:
        self.training, self.after_step = training, after_step

    def step(self, training: loop.Training) -> None:
        if training.steps % self.training.steps_an_epoch:
            self.after_step()

    def point(self, training: loop.Training) -> None:
        del training
        self.after_step()


_OWN = ("best", "best_loss", "best_epoch", "diverged")
_OF_RUNS = ("samples", "penalty")
