"""The training loop of every experiment: plain torch, one page.

It continues bit for bit from a checkpoint taken at any step: weights, optimiser, schedule, data stream, torch's own
random numbers and the half-filled averages all come back. Nothing reads a number off the device inside a step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.runs import spread
from hardgrad_lab.runs.signals import Interrupted, stop_signals
from hardgrad_lab.runs.step import Loss as Loss
from hardgrad_lab.runs.step import as_asked, products
from hardgrad_lab.runs.stopwatch import Stopwatch
from hardgrad_lab.runs.together import Agreement, gather, mean


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


class DivergedError(ArithmeticError):
    """The loss is no number any more.

    Args:
        samples: seen until it was noticed.
        averages: the loss and the penalty.
    """

    def __init__(self, samples: int, averages: dict[str, float]) -> None:
        figures = ", ".join(f"{name} {value}" for name, value in averages.items())
        super().__init__(f"the training diverged: {figures} at sample {samples:,}; a smaller lr or a clip may hold it")
        self.averages = averages


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
        rows: of which data exactly, in words; goes into the record.
        enough: asked after every evaluation: whether to end before the plan does.
    """

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    schedulers: list[torch.optim.lr_scheduler.LRScheduler]
    stream: Stream
    loss: Loss
    evaluate: Callable[[bool], dict[str, Any]]
    keep: Callable[[Training, Path, str], None] | None = None
    rows: str = ""
    enough: Callable[[], bool] = lambda: False
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    summed: int = 0

    def step(self, loss: Loss, clip: float) -> None:
        """Take one optimiser step on the next batch; ``loss`` is the training's own, or what became of it."""
        inputs, targets = self.stream.batch()
        device = self._parameters[0].device
        with products(loss, device):
            with hg.penalties() as bag:  # asked for only to be shown: without it the bridges would train the same
                task = loss(inputs, targets)
            penalty = bag.total().to(task.device)
            for parameter in self._parameters:
                parameter.grad = None
            (task + penalty).backward()
        if clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        for optimizer in self.optimizers:
            with products(optimizer, device):
                optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()
        self.count(task, penalty, len(inputs) * spread.world())

    def count(self, loss: Tensor, penalty: Tensor, samples: int) -> None:
        """Count a step that was taken on so many samples, with its loss and penalty, both of shape ()."""
        self.sums += torch.stack([loss.detach(), penalty.detach()])
        self.summed += 1
        self.steps += 1
        self.samples += samples

    def averages(self) -> dict[str, float]:
        """Return this process's mean loss and penalty since the last evaluation. Waits for the device."""
        loss, penalty = (self.sums / max(self.summed, 1)).tolist()
        return {"loss": loss, "penalty": penalty}

    def add_point(self, *, last: bool) -> None:
        """Evaluate in the first process, and extend the curve by what came out.

        Raises:
            DivergedError: if the loss since the last point is not a finite number.
        """
        self.sums = mean(self.sums)
        averages = self.averages()
        if not all(math.isfinite(value) for value in averages.values()):
            raise DivergedError(self.samples, averages)
        measured: dict[str, Any] = {}
        if spread.rank() == 0:
            self.model.eval()
            with torch.no_grad():
                measured = self.evaluate(last)
            self.model.train()
        self.curve.append({"samples": self.samples, "seconds": self.seconds, **averages, **measured})
        self.sums, self.summed = torch.zeros_like(self.sums), 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, in all processes together."""
        state = self.plain_state()
        first, *others = gather(self._own())
        return {**state, **first, "others": others} if others else {**state, **first}

    def plain_state(self) -> dict[str, Any]:
        """Return what all processes have alike, and one cannot do without."""
        state = {name: getattr(self, name) for name in _PLAIN}
        return state | {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what ``state`` was taken from.

        Raises:
            ValueError: if another number of processes shared the run.
        """
        everybody = [state, *state.get("others", [])]
        if len(everybody) != spread.world():
            raise ValueError(
                f"processes must be {len(everybody)} to continue this run, as when it was stopped, got "
                f"{spread.world()}; give them to torchrun, or start again with --force"
            )
        for name in _PLAIN:
            setattr(self, name, state[name])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        own = everybody[spread.rank()]
        device = next(self.model.parameters()).device
        self.sums = own["sums"].to(device)
        self.stream.load_state_dict(own["stream"])
        torch.set_rng_state(own["random"])
        if device.type == "cuda" and "random_cuda" in own:
            torch.cuda.set_rng_state(own["random_cuda"], device)

    @cached_property
    def _parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())  # walking a model of some branches took 7 % of a step

    def _own(self) -> dict[str, Any]:
        """Return what each process has of its own."""
        own = {"sums": self.sums.cpu(), "stream": self.stream.state_dict(), "random": torch.get_rng_state()}
        if self.sums.is_cuda:
            own["random_cuda"] = torch.cuda.get_rng_state(self.sums.device)
        return own

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model}
        parts |= {f"optimizer {i}": optimizer for i, optimizer in enumerate(self.optimizers)}
        return parts | {f"scheduler {i}": scheduler for i, scheduler in enumerate(self.schedulers)}


_PLAIN = ("steps", "samples", "seconds", "curve", "summed")


def train(
    training: Training,
    plan: Plan,
    save: Callable[[], None],
    watcher: Watcher,
    *,
    compiled: bool = False,
    bf16: bool = False,
) -> None:
    """Train to the end of the plan, or until it is enough, from wherever the training stands.

    Args:
        training: the run; it is changed in place.
        plan: how far, and how often to look up.
        save: writes a checkpoint of the training; called by all processes of a shared run.
        watcher: shows progress.
        compiled: run the loss through ``torch.compile``.
        bf16: compute the loss under ``torch.autocast`` in bfloat16.

    Raises:
        Interrupted: on SIGINT or SIGTERM in any process, once a checkpoint is written.
        DivergedError: if the loss is no finite number at an evaluation.
    """
    loss = as_asked(training.loss, training.model, compiled=compiled, bf16=bf16)
    watch, saved = Stopwatch(training.seconds), time.monotonic()
    agreement, ended = Agreement(), False
    training.model.train()
    with stop_signals() as arrived:
        while training.steps < plan.steps:
            training.step(loss, plan.clip)
            training.seconds = watch.read()
            watcher.step(training)
            if training.steps % plan.evaluate_every == 0 or training.steps == plan.steps:
                training.add_point(last=training.steps == plan.steps)
                watcher.point(training)
                ended = training.enough()
            late = time.monotonic() - saved >= plan.checkpoint_every_s
            stop, save_now, end = agreement.largest(arrived[0] if arrived else 0, int(late), int(ended))
            if stop or save_now or (plan.checkpoint_every and training.steps % plan.checkpoint_every == 0):
                save()
                saved = time.monotonic()
            if stop:
                raise Interrupted(stop)
            if end:
                break
    save()
