"""The training loop of every experiment: plain torch, one page.

It continues bit for bit from a checkpoint taken at any step: weights, optimiser, schedule, data stream, torch's own
random numbers and the half-filled averages all come back. Nothing reads a number off the device inside a step.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import hardgrad as hg

Loss = Callable[[Tensor, Tensor], Tensor]


class Stream(Protocol):
    """Training batches without end, which can say where they stand and go on from there."""

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next inputs and targets."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        ...


class Watcher(Protocol):
    """Whoever shows the progress of a run."""

    def step(self, training: Training) -> None:
        """See the training after every step; must be cheap."""
        ...

    def point(self, training: Training) -> None:
        """See the training after every evaluation."""
        ...


class Interrupted(Exception):
    """A signal stopped the training; its state is safe.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class DivergedError(ArithmeticError):
    """The loss is no number any more.

    Args:
        samples: seen until it was noticed.
        averages: the loss and the penalty.
    """

    def __init__(self, samples: int, averages: dict[str, float]) -> None:
        figures = ", ".join(f"{name} {value}" for name, value in averages.items())
        super().__init__(f"the training diverged: {figures} at sample {samples:,}; a smaller lr or a clip may hold it")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How far to train, and how often to look up.

    Args:
        steps: optimiser steps in all.
        evaluate_every: steps between evaluations; the last step is always evaluated.
        checkpoint_every_s: seconds between checkpoints.
        checkpoint_every: steps between checkpoints; 0 goes by the clock alone.
        clip: largest norm of the gradient; 0 never clips.
    """

    steps: int
    evaluate_every: int
    checkpoint_every_s: float = 30.0
    checkpoint_every: int = 0
    clip: float = 0.0


@dataclass(kw_only=True)
class Training:
    """A run under way: all that changes while it trains.

    Args:
        model: the network.
        optimizers: over all its parameters together, those of its bridges too.
        schedulers: stepped after every optimiser step.
        stream: where batches come from.
        loss: of the task, from a batch.
        evaluate: measures the model in ``eval()`` without gradients; told whether it is for the last time. A number
            with an ``@`` in its name is there for ``keep``, and goes into no record.
        keep: at the end, writes what a record cannot hold (pictures, curves) into the folder of the records, under the
            run's name.
    """

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    schedulers: list[torch.optim.lr_scheduler.LRScheduler]
    stream: Stream
    loss: Loss
    evaluate: Callable[[bool], dict[str, float]]
    keep: Callable[[Training, Path, str], None] | None = None
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    summed: int = 0

    def step(self, loss: Loss, clip: float) -> None:
        """Take one optimiser step on the next batch; ``loss`` is the training's own, or a compiled one."""
        inputs, targets = self.stream.batch()
        with hg.penalties() as bag:  # asked for only to be shown: without it the bridges would train the same
            task = loss(inputs, targets)
        penalty = bag.total().to(task.device)
        self.model.zero_grad(set_to_none=True)
        (task + penalty).backward()
        if clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        for optimizer in self.optimizers:
            optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()
        self.sums += torch.stack([task.detach(), penalty.detach()])
        self.summed += 1
        self.steps += 1
        self.samples += len(inputs)

    def averages(self) -> dict[str, float]:
        """Return the mean loss and penalty since the last evaluation. Waits for the device."""
        loss, penalty = (self.sums / max(self.summed, 1)).tolist()
        return {"loss": loss, "penalty": penalty}

    def add_point(self, *, last: bool) -> None:
        """Evaluate, and extend the curve by what came out.

        Raises:
            DivergedError: if the loss since the last point is not a finite number.
        """
        averages = self.averages()
        if not all(math.isfinite(value) for value in averages.values()):
            raise DivergedError(self.samples, averages)
        self.model.eval()
        with torch.no_grad():
            measured = self.evaluate(last)
        self.model.train()
        self.curve.append({"samples": self.samples, "seconds": self.seconds, **averages, **measured})
        self.sums, self.summed = torch.zeros_like(self.sums), 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        state = {name: getattr(self, name) for name in _PLAIN}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        state["random"] = torch.get_rng_state()
        if self.sums.is_cuda:
            state["random_cuda"] = torch.cuda.get_rng_state(self.sums.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what ``state`` was taken from."""
        for name in _PLAIN:
            setattr(self, name, state[name])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        device = next(self.model.parameters()).device
        self.sums = self.sums.to(device)
        if device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"], device)

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model, "stream": self.stream}
        parts |= {f"optimizer {i}": optimizer for i, optimizer in enumerate(self.optimizers)}
        return parts | {f"scheduler {i}": scheduler for i, scheduler in enumerate(self.schedulers)}


_PLAIN = ("steps", "samples", "seconds", "curve", "sums", "summed")


def train(
    training: Training, plan: Plan, save: Callable[[], None], watcher: Watcher, *, compiled: bool = False
) -> None:
    """Train to the end of the plan, from wherever the training stands.

    Args:
        training: the run; it is changed in place.
        plan: how far, and how often to look up.
        save: writes a checkpoint of the training.
        watcher: shows progress.
        compiled: run the loss through ``torch.compile``.

    Raises:
        Interrupted: on SIGINT or SIGTERM, once a checkpoint is written.
        DivergedError: if the loss is no finite number at an evaluation.
    """
    loss = torch.compile(training.loss) if compiled else training.loss
    began, saved = time.monotonic() - training.seconds, time.monotonic()
    training.model.train()
    with stop_signals() as arrived:
        while training.steps < plan.steps:
            training.step(loss, plan.clip)
            training.seconds = time.monotonic() - began
            watcher.step(training)
            if training.steps % plan.evaluate_every == 0 or training.steps == plan.steps:
                training.add_point(last=training.steps == plan.steps)
                watcher.point(training)
            due = plan.checkpoint_every and training.steps % plan.checkpoint_every == 0
            if due or arrived or time.monotonic() - saved >= plan.checkpoint_every_s:
                save()
                saved = time.monotonic()
            if arrived:
                raise Interrupted(arrived[0])
    save()


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one acts as it always did."""
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived  # only the main thread may handle signals
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        arrived.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
