"""Rows as rivals that are solved see them: the window's inputs and the key, standardized, in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardgrad_lab.fit.rows import Array, Rows, Scaling

CHUNK = 4_000_000  # numbers that are held at a time where rows need not be kept
SCALED = 100_000  # rows whose spread stands for that of all


@dataclass(frozen=True)
class Design:
    """What a row becomes.

    Args:
        keyed: whether the key is no input, and is added: a switch knows it, so its rivals must.
        scaling: of the columns, (D,).
    """

    keyed: bool
    scaling: Scaling

    @classmethod
    def of(cls, rows: Rows, train: Tensor, *, keyed: bool) -> Design:
        """Return the design that standardizes the rows trained on."""
        few = train[torch.linspace(0, len(train) - 1, min(SCALED, len(train))).long().to(train.device)]
        parts = [_raw(rows, part, keyed) for part in few.split(_size(rows))]
        count = sum(len(part) for part in parts)
        mean: Array = np.sum([part.sum(axis=0) for part in parts], axis=0) / count
        spread: Array = np.sqrt(np.sum([np.square(part - mean).sum(axis=0) for part in parts], axis=0) / count)
        flat = spread <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return cls(keyed, Scaling(mean, np.where(flat, 1.0, spread)))

    @property
    def columns(self) -> int:
        """Return D, the length of a row."""
        return len(self.scaling.mean)

    def take(self, rows: Rows, chosen: Tensor) -> Array:
        """Return chosen rows, (B, D)."""
        return np.concatenate(list(self.chunks(rows, chosen)) or [np.zeros((0, self.columns))])

    def chunks(self, rows: Rows, chosen: Tensor) -> Iterator[Array]:
        """Yield chosen rows, some at a time."""
        for part in chosen.split(_size(rows)):
            yield self.scaling.to(_raw(rows, part, self.keyed))


def some(rows: Tensor, count: int, seed: int) -> Tensor:
    """Return ``count`` of these rows, drawn without order and in ascending order again."""
    if count >= len(rows):
        return rows
    places: NDArray[np.int64] = np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))
    return rows[torch.from_numpy(places).to(rows.device)]


def _raw(rows: Rows, chosen: Tensor, keyed: bool) -> Array:
    taken, key = rows.take(chosen)
    x: Array = taken.double().cpu().numpy()
    exact = key.double().cpu().numpy()
    if rows.raw is not None:
        x[:, rows.raw] = exact  # the network may have rounded it
    return np.concatenate([x, exact[:, None]], axis=1) if keyed else x


def _size(rows: Rows) -> int:
    return max(256, CHUNK // (rows.window * rows.columns.shape[1] + 1))
