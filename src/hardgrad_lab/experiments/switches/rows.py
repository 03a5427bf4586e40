"""The rows that experiments train and test on, and the batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.data.recordings import Signal
from hardgrad_lab.runs.spread import mine


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one kind.

    Args:
        x: (n, F), what a model sees.
        key: (n,), what leads a row to a range.
        y: (n, 1), what it is to say.
    """

    x: Tensor
    key: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Part:
        """Return the rows on a device."""
        return Part(x=self.x.to(device), key=self.key.to(device), y=self.y.to(device))

    def take(self, index: Tensor | slice) -> Part:
        """Return some of the rows."""
        return Part(x=self.x[index], key=self.key[index], y=self.y[index])


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What one run of an experiment trains and is tested on.

    Args:
        train: the training rows.
        tests: test rows, by what they are, such as ``unseen``.
        points: where the ranges truly are, or are published to be.
        key_columns: columns of x that hold the key.
        rate: samples a second, 0 where rows are no signal.
    """

    train: Part
    tests: Mapping[str, Part]
    points: tuple[float, ...]
    key_columns: Sequence[int] = field(default=(-1,))
    rate: float = 0.0

    @property
    def test(self) -> Part:
        """Return all test rows together."""
        return together(list(self.tests.values()))

    def to(self, device: torch.device) -> Rows:
        """Return the rows on a device."""
        tests = {name: part.to(device) for name, part in self.tests.items()}
        return replace(self, train=self.train.to(device), tests=tests)


def together(parts: Sequence[Part]) -> Part:
    """Return the rows of all parts, in order."""
    return Part(
        x=torch.cat([part.x for part in parts]),
        key=torch.cat([part.key for part in parts]),
        y=torch.cat([part.y for part in parts]),
    )


def part_of(x: Signal, key: Signal, y: Signal) -> Part:
    """Return a part from arrays: x (n, F), key (n,), y (n,), in single precision."""
    return Part(x=_tensor(x), key=_tensor(key), y=_tensor(y).unsqueeze(1))


def some(part: Part, rows: int, seed: int) -> Part:
    """Return ``rows`` of the part drawn without replacement, or all of it if it has no more or ``rows`` is 0."""
    if rows == 0 or rows >= len(part):
        return part
    generator = torch.Generator().manual_seed(seed)
    return part.take(torch.randperm(len(part), generator=generator)[:rows])


def _tensor(values: Signal) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


class Batches:
    """Batches of rows drawn with replacement: every contestant with a seed sees the same ones, but for learnt points.

    A switch that places its points draws as many rows from each of its ranges. Where a range holds two rows in a
    thousand, its branch would else learn too late to hold its points.

    Args:
        part: the rows.
        batch: how many at a time.
        seed: of the draw.
        ranges: draw evenly over these as they are at the time; None draws evenly over the rows.
    """

    def __init__(self, part: Part, batch: int, seed: int, ranges: hg.switch.PointRouter | None = None) -> None:
        self.part, self.batch_size, self.ranges = part, batch, ranges
        self.generator = torch.Generator().manual_seed(seed)
        self._points: tuple[float, ...] = ()
        self._members: list[Tensor] = []

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return inputs, with the key as a last column, and targets."""
        taken = self.part.take(mine(self._index()).to(self.part.x.device))
        return torch.cat([taken.x, taken.key.unsqueeze(1)], dim=1), taken.y

    def state_dict(self) -> dict[str, Any]:
        """Return where the draw stands."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["generator"])

    def _index(self) -> Tensor:
        if self.ranges is None:
            return torch.randint(len(self.part), (self.batch_size,), generator=self.generator)
        if self.ranges.points != self._points:
            self._points, index = self.ranges.points, self.ranges.index(self.part.key).cpu()
            members = [(index == i).nonzero()[:, 0] for i in range(len(self.ranges))]
            self._members = [rows for rows in members if len(rows)]
        shares = [self.batch_size // len(self._members)] * len(self._members)
        shares[0] += self.batch_size - sum(shares)
        return torch.cat(
            [
                rows[torch.randint(len(rows), (share,), generator=self.generator)]
                for rows, share in zip(self._members, shares, strict=True)
            ]
        )
