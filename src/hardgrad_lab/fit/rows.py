"""The rows of a table as a network wants them: scaled columns, windows over time, a key in full precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
PARTS, LEAST = 5, 20  # stretches held out of a recording, and the rows that one should have
LAGS = 6  # of a window that stand for it where all would be too many


@dataclass(frozen=True)
class Scaling:
    r"""Columns brought to mean 0 and standard deviation 1.

    .. math:: x' = (x - m) / s, \qquad s = 1 \text{ for a column that does not vary}

    Args:
        mean: (F,).
        scale: (F,).
    """

    mean: Array
    scale: Array

    @classmethod
    def of(cls, columns: Array, weight: Array | None = None) -> Scaling:
        """Return the scaling of columns (n, F), whose rows may have weights (n,)."""
        mean = np.average(columns, axis=0, weights=weight)
        scale = np.sqrt(np.average(np.square(columns - mean), axis=0, weights=weight))
        # A constant column may show a rounding error as its spread.
        flat = scale <= 1e-12 * np.maximum(np.abs(columns).max(axis=0, initial=0.0), 1e-300)
        return cls(mean, np.where(flat, 1.0, scale))

    def to(self, columns: Array) -> Array:
        """Return scaled columns."""
        scaled: Array = (columns - self.mean) / self.scale
        return scaled

    def back(self, columns: Array) -> Array:
        """Return columns in their own units again."""
        raw: Array = columns * self.scale + self.mean
        return raw


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one or more recordings, from which batches are taken.

    Args:
        columns: (n, F) scaled inputs.
        key: (n,) float64, in its own units, so that a key written as a point's number is on that point.
        first: (n,) int64, the first row of each row's recording: no window reaches back across it.
        window: how many rows a network sees at a time, the newest last.
        raw: position in the flat window that holds the key in its own units, for the switch to normalize; or None.
    """

    columns: Tensor
    key: Tensor
    first: Tensor
    window: int
    raw: int | None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (B, window * F) and keys (B,). Before its first row a recording is held at that row."""
        key = self.key.index_select(0, rows)
        if self.raw is not None and self.window * self.columns.shape[1] == 1:  # the key is all there is
            return key[:, None].to(self.columns.dtype, copy=True), key
        if self.window == 1:
            x = self.columns.index_select(0, rows)
        else:
            back = torch.arange(1 - self.window, 1, device=rows.device)
            at = torch.maximum(rows.unsqueeze(1) + back, self.first[rows].unsqueeze(1))
            x = self.columns[at].flatten(1)
        if self.raw is not None:
            x[:, self.raw] = key.to(x.dtype)
        return x, key

    def full(self) -> Tensor:
        """Return the rows whose whole window lies in their recording."""
        place = torch.arange(len(self), device=self.first.device) - self.first
        return (place >= self.window - 1).nonzero()[:, 0]


def first_rows(groups: NDArray[np.generic] | None, n: int) -> NDArray[np.int64]:
    """Return the first row of each row's recording; a recording ends where the label of the next row differs."""
    starts = np.zeros(n, dtype=np.int64)
    if groups is not None:
        begins = np.flatnonzero(groups[1:] != groups[:-1]) + 1
        starts[begins] = begins
    return np.maximum.accumulate(starts)


def lagged_rows(rows: NDArray[np.int64], first: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Return a few rows of each row's window, (len(rows), at most LAGS), nearer ones closer together."""
    lags = np.unique(np.round(np.geomspace(1, window, LAGS)).astype(np.int64) - 1)
    found: NDArray[np.int64] = np.maximum(rows[:, None] - lags, first[rows][:, None])
    return found


def held_out(
    rows: NDArray[np.int64], first: NDArray[np.int64], share: float, *, blocks: bool, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into those to keep and those to hold out.

    Args:
        rows: row numbers, ascending.
        first: (n,) the first row of each row's recording.
        share: to hold out, 0 to 1; less than one row holds out none.
        blocks: hold out whole stretches of each recording, not rows at random: neighbouring windows share most of
            their rows, so that random ones would be known by heart. A recording is cut into equal parts, and the end
            of each is held out: a note that dies away must be heard loud and soft.
        seed: of the random choice.

    Returns:
        Both ascending.
    """
    if not blocks:
        shuffled = np.random.default_rng(seed).permutation(rows)
        count = int(share * len(rows))
        return np.sort(shuffled[count:]), np.sort(shuffled[:count])
    out = np.zeros(len(rows), dtype=bool)
    for begin in np.unique(first[rows]):
        mine = np.flatnonzero(first[rows] == begin)
        parts = max(1, min(PARTS, int(share * len(mine)) // LEAST))
        for part in np.array_split(mine, parts):
            out[part[len(part) - int(share * len(part)) :]] = True
    return rows[~out], rows[out]
