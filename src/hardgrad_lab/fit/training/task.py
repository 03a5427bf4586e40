"""What a training learns from, and how: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.fit.rows import Rows

LossOfRows = Callable[[Tensor, Tensor], Tensor]


def squared(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each row, (B,), of output (B, T) and target (B,) or (B, T), averaged over targets."""
    return (output - target.reshape(output.shape)).square().mean(1)


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
        target: (n,) or (n, T), scaled numbers; or (n,), class numbers.
        train: rows to learn from.
        held_out: rows that choose the best weights; may be none.
        ranges: of the key.
        loss_of_rows: (output, target) to (B,).
        weight: (n,), what each row counts for, 1 on average over the training rows; None where all count the same.
    """

    rows: Rows
    target: Tensor
    train: Tensor
    held_out: Tensor
    ranges: hg.switch.PointRouter
    loss_of_rows: LossOfRows
    weight: Tensor | None = None

    def average(self, losses: Tensor, rows: Tensor, index: Tensor, kind: str) -> Tensor:
        """Return the mean loss of rows, or the mean of their ranges' means where ``kind`` is "per_branch_mean".

        Args:
            losses: (B,) of these rows.
            rows: (B,) row numbers.
            index: (B,) their ranges.
            kind: of ``LOSSES``.
        """
        if self.weight is None:
            return losses.mean() if kind == "mean" else hg.per_branch_mean(losses, index)
        weight = self.weight[rows].to(losses.dtype)
        if kind == "mean":
            return (losses * weight).mean()
        sums, totals = (losses.new_zeros(len(self.ranges)).index_add(0, index, w) for w in (losses * weight, weight))
        there = totals > 0
        return (sums[there] / totals[there]).mean()

    def constant_loss(self) -> float:
        """Return what the best constant loses on the training rows: what any training should beat."""
        target = self.target[self.train]
        weight = torch.ones(len(target), device=target.device) if self.weight is None else self.weight[self.train]
        share = (weight / weight.sum()).double()
        if target.is_floating_point():
            columns = target.double().reshape(len(target), -1)
            mean = (columns * share[:, None]).sum(0)
            return float(((columns - mean).square() * share[:, None]).sum(0).mean())
        shares = torch.zeros(int(self.target.max()) + 1, dtype=torch.float64, device=target.device)
        shares = shares.index_add(0, target, share)
        return float(-torch.special.xlogy(shares, shares).sum())


class Batches:
    """The training rows of a task, epoch by epoch, each in an order that follows from the seed and its number alone.

    Args:
        task: what to learn from.
        recipe: its batch size and seed.
    """

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.task, self.recipe = task, recipe
        self.taken = 0
        self._order: tuple[int, Tensor] | None = None

    @property
    def in_an_epoch(self) -> int:
        """Return how many batches make an epoch; the last may be short."""
        return max(1, -(-len(self.task.train) // self.recipe.batch_size))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the numbers of the next rows, (B,), and their targets."""
        epoch, place = divmod(self.taken, self.in_an_epoch)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            shuffled = torch.randperm(len(self.task.train), generator=generator)
            self._order = (epoch, self.task.train[shuffled.to(self.task.train.device)])
        size = self.recipe.batch_size
        rows = self._order[1][place * size : (place + 1) * size]
        self.taken += 1
        return rows, self.task.target[rows]

    def state_dict(self) -> dict[str, int]:
        """Return where the stream stands."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where ``state`` was taken."""
        self.taken = state["taken"]
