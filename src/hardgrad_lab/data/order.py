"""Which rows a batch has: shuffled epochs without replacement, shared out among processes, known from two numbers.

The order of an epoch follows from the seed and the epoch's number alone, so a stream that stands at batch k of epoch e
needs to remember nothing but e and k, and goes on from there bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hardgrad_lab.runs.options import require


def seed_of(purpose: str, *numbers: int) -> int:
    """Return a seed that no other purpose and no other numbers share.

    Example:
        >>> seed_of("order", 0, 1) == seed_of("order", 0, 1), seed_of("order", 0, 1) == seed_of("order", 1, 0)
        (True, False)
    """
    digest = hashlib.sha256(":".join(map(str, (purpose, *numbers))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Order:
    """The rows of every batch of every epoch, for one process of ``world``.

    All processes shuffle alike. Batch k of all of them together is batch k of one process with ``world`` times the
    batch, and no row is in two of them. What is left at the end of an epoch makes one smaller batch of equal size for
    all, and up to ``world - 1`` rows, other ones each epoch, sit it out.

    Args:
        rows: of the set.
        batch: rows a process sees in one step.
        seed: of the shuffling.
        drop_last: leave out the smaller batch at the end.
        rank: of this process, from 0.
        world: how many processes.

    Raises:
        OptionError: if a number is out of range, or no batch comes of it.

    Example:
        >>> order = Order(rows=10, batch=4, seed=0)
        >>> order.steps, sorted(order.epoch(0).tolist()) == list(range(10))
        (3, True)
    """

    rows: int
    batch: int
    seed: int
    drop_last: bool = False
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", "at least 1", self.batch)
        require(self.world >= 1, "world", "at least 1", self.world)
        require(0 <= self.rank < self.world, "rank", f"from 0 to world - 1 = {self.world - 1}", self.rank)
        together = self.batch * self.world
        least = together if self.drop_last else self.world
        rule = f"at least {least}, batch x world with drop_last and world without, so that there is a batch"
        require(self.rows >= least, "rows", rule, self.rows)

    @property
    def steps(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(self.rows, self.batch * self.world)
        return full + (rest >= self.world and not self.drop_last)

    def epoch(self, number: int) -> Tensor:
        """Return this process's rows of an epoch, batch after batch, int64 on the CPU.

        Args:
            number: of the epoch, from 0.
        """
        generator = torch.Generator().manual_seed(seed_of("order", self.seed, number))
        shuffled = torch.randperm(self.rows, generator=generator)
        full = self.rows // (self.batch * self.world)
        mine = shuffled[: full * self.batch * self.world].view(full, self.world, self.batch)[:, self.rank].flatten()
        if self.steps == full:
            return mine
        rest = shuffled[full * self.batch * self.world :]
        share = len(rest) // self.world
        return torch.cat([mine, rest[self.rank * share : (self.rank + 1) * share]])


@dataclass
class Place:
    """Where a stream stands: about to give out batch ``step`` of epoch ``epoch``.

    Args:
        order: of the rows.
    """

    order: Order
    epoch: int = 0
    step: int = 0

    def advance(self) -> None:
        """Go on by one batch."""
        self.step += 1
        if self.step == self.order.steps:
            self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the place, and what it would be wrong without. It is the same for all processes."""
        order = self.order
        fixed = {"rows": order.rows, "batch": order.batch, "seed": order.seed, "world": order.world}
        return {"epoch": self.epoch, "step": self.step, **fixed, "drop_last": order.drop_last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where ``state`` was taken.

        Raises:
            ValueError: if it was taken from a stream of other batches, whose places are not this one's.
        """
        here = self.state_dict()
        differing = [name for name in here if name not in ("epoch", "step") and here[name] != state.get(name)]
        if differing:
            differences = ", ".join(f"{name} {state.get(name)} there, {here[name]} here" for name in differing)
            raise ValueError(f"state is of a stream with other batches ({differences}); go on with the same options")
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
