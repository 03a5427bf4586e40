"""The rows that experiments train and test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hardgrad_lab.data.recordings import Signal


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
