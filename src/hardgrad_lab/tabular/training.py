"""Training one network on rows: epochs, a cosine learning rate, the best weights on held-out rows, bit-exact resuming.

The order of an epoch's rows and the learning rate follow from the seed and the step alone, so that a checkpoint needs
no stream: weights, optimiser, torch's random numbers, the best weights so far and the half-filled averages suffice.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.runs.loop import DivergedError
from hardgrad_lab.tabular.rows import Rows

# Learnt points move far at first and little at last; then they rest, and the branches settle.
WIDE, NARROW, RESTS = 0.5, 0.05, 0.6
PLACED = 10_000  # rows by which points are placed at the end of an epoch
WARM_UP = 0.03  # share of the steps over which the learning rate rises
CHUNK = 65_536  # values of rows x inputs x 2 that an evaluation holds at a time; bounds its memory
MOST_ROWS = 4_096  # at a time: what hidden layers hold of them should fit a cache
LossOfRows = Callable[[Tensor, Tensor], Tensor]


def squared(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each row, (B,), of output (B, 1) and target (B,)."""
    return (output[:, 0] - target).square()


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of each row, (B,), of logits (B, C) and class numbers (B,)."""
    return F.cross_entropy(output, target, reduction="none")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Args:
        epochs: passes over the training rows.
        batch_size: rows of a step.
        optimizer: adam, adamw, sgd (with momentum 0.9) or rmsprop.
        lr: the peak of the learning rate, which rises at first and then falls to zero as a cosine.
        loss: "mean" over the rows of a batch, or "per_branch_mean", the mean of the ranges' means.
        patience: epochs without a better held-out loss after which training ends.
        seed: of weights and of the order of rows.
    """

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    loss: str
    patience: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to learn from.

    Args:
        rows: inputs and keys.
        target: (n,), scaled numbers or class numbers.
        train: rows to learn from.
        held_out: rows that choose the best weights; may be none.
        ranges: of the key.
        loss_of_rows: (output, target) to (B,).
    """

    rows: Rows
    target: Tensor
    train: Tensor
    held_out: Tensor
    ranges: hg.Ranges
    loss_of_rows: LossOfRows


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

    def __post_init__(self) -> None:
        self.optimizer = _optimizer(self.model, self.recipe)
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
        return self.steps >= self.all_steps or tired

    def run(self, watcher: Watcher | None = None, after_step: Callable[[], None] | None = None) -> None:
        """Train to the end from wherever it stands, and take the best weights.

        Args:
            watcher: told after every step.
            after_step: called after every step; may raise to stop the training, which can go on later.

        Raises:
            DivergedError: if the loss is no finite number at the end of an epoch.
        """
        began = time.monotonic() - self.seconds
        self.model.train()
        while not self.done:
            self._step()
            self.seconds = time.monotonic() - began
            if self.steps % self.steps_an_epoch == 0:
                self._end_epoch()
            if watcher is not None:
                watcher.step(self)
            if after_step is not None:
                after_step()
        if self.best is not None:
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
        loss = losses.mean() if self.recipe.loss == "mean" else hg.per_branch_mean(losses, self.task.ranges.index(key))
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
        if not math.isfinite(average):
            raise DivergedError(self.steps * self.recipe.batch_size, {"loss": average})
        self._place_points()
        point: dict[str, Any] = {"epoch": self.epoch, "seconds": self.seconds, "loss": average}
        if len(self.task.held_out):
            point |= self._measured()
            if point["held_out"] < self.best_loss:
                self.best_loss, self.best_epoch = point["held_out"], self.epoch
                self.best = copy.deepcopy(self.model.state_dict())
        self.curve.append(point)

    def _place_points(self) -> None:
        """Put learnt points where the branches, as they are, serve the rows best.

        The gradient that batches lend points is to first order in the jump between branches: at a kink, which has none,
        it left a point 14 % off that this places within 0.3 %.
        """
        window = window_of(self.steps / self.all_steps)
        if window is None or not isinstance(self.task.ranges, hg.LearntRanges) or not isinstance(self.model, hg.Switch):
            return
        count = min(PLACED, len(self.task.train))
        rows = self.task.train[torch.linspace(0, len(self.task.train) - 1, count).long().to(self.task.train.device)]
        x, key = self.task.rows.take(rows)
        hg.switch.refine(self.model, x, key, self.task.target[rows], self.task.loss_of_rows, window=window)

    def _measured(self) -> dict[str, Any]:
        rows, ranges = self.task.held_out, self.task.ranges
        losses = self.losses(rows).double()
        index = ranges.index(self.task.rows.key[rows])
        sums = torch.zeros(len(ranges), dtype=torch.float64, device=losses.device).index_add(0, index, losses)
        counts = torch.bincount(index, minlength=len(ranges))
        means = (sums / counts).tolist()
        weighed = hg.per_branch_mean(losses, index) if self.recipe.loss == "per_branch_mean" else losses.mean()
        # A range without a held-out row has no loss, which plain JSON says as null.
        return {"held_out": float(weighed), "ranges": [mean if math.isfinite(mean) else None for mean in means]}


_PLAIN = ("steps", "seconds", "curve", "best", "best_loss", "best_epoch")


def forward(model: nn.Module, rows: Rows, chosen: Tensor) -> Tensor:
    """Return the model's outputs for chosen rows, (len(chosen), ...), in ``eval()`` and without counting visits."""
    training = model.training
    model.eval()
    size = rows_at_once(rows.window * rows.columns.shape[1])
    with torch.no_grad(), uncounted(model):
        outputs = torch.cat([model(*rows.take(part)) for part in chosen.split(size)])
    model.train(training)
    return outputs


def rows_at_once(inputs: int) -> int:
    """Return how many rows of so many inputs are evaluated at a time; sounds are streamed in the same steps."""
    return min(MOST_ROWS, max(256, 2 * CHUNK // max(1, inputs)))


class uncounted:
    """Within this scope a model's counters of visits stay as they were."""

    def __init__(self, model: nn.Module) -> None:
        names = ("visits", "below", "above")
        routers = [module for module in model.modules() if isinstance(module, hg.Ranges)]
        self._counters = [getattr(router, name) for router in routers for name in names]

    def __enter__(self) -> None:
        self._before = [counter.clone() for counter in self._counters]

    def __exit__(self, *_: object) -> None:
        for counter, before in zip(self._counters, self._before, strict=True):
            counter.copy_(before)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine down to zero."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def window_of(share: float) -> float | None:
    """Return how far learnt points may move when this share of the steps is done, None where they rest."""
    return None if share >= RESTS else WIDE * (NARROW / WIDE) ** (share / RESTS)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    # Learnt points are placed, not descended to: they have no gradient, and no optimiser moves what has none.
    parameters = list(model.parameters())
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=recipe.lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=recipe.lr, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, lr=recipe.lr, momentum=0.9)
        case _:
            return torch.optim.RMSprop(parameters, lr=recipe.lr)
