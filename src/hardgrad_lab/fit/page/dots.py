"""The rows that a fit's figures show: test rows, the line over the key, the stretch where the target moves most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.tables import INPUT

if TYPE_CHECKING:
    from hardgrad_lab.fit.fitted import Fitted
    from hardgrad_lab.fit.tables import Table

DOTS, OF_SOUND = 1500, 700  # in a scatter plot: more only make the page heavy, and a sound has other figures
STRETCH = 400  # rows of the stretch of time that is drawn


@dataclass(frozen=True, kw_only=True)
class Dots:
    """Some rows to draw.

    Args:
        x: (m,) the key; or time, in seconds or rows.
        truth: (m,) the target; empty for a curve that was only computed.
        predicted: (m,).
        index: (m,) the range each took.
    """

    x: Array
    truth: Array
    predicted: Array
    index: NDArray[np.int64]


def _pick(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


def dots_of(fitted: Fitted, read: Table) -> Dots:
    """Return test rows with their numbers."""
    rows = _pick(fitted.test, OF_SOUND if read.rate else DOTS)
    key = read.inputs[INPUT if read.rate else read.key].to_numpy()
    assert read.target is not None
    return Dots(x=key[rows], truth=read.target[rows], predicted=fitted.predicted[rows], index=fitted.index[rows])


def class_dots_of(fitted: Fitted, read: Table, classes: Sequence[str]) -> Dots:
    """Return test rows with the numbers of their classes; -1 for one that no row that was fitted to has."""
    rows = _pick(fitted.test, DOTS)
    numbers = {name: float(number) for number, name in enumerate(classes)}
    assert read.target is not None
    truth, predicted = ([numbers.get(str(v), -1.0) for v in part[rows]] for part in (read.target, fitted.predicted))
    key = read.inputs[read.key].to_numpy()[rows]
    return Dots(x=key, truth=np.array(truth), predicted=np.array(predicted), index=fitted.index[rows])


def line_of(fitted: Fitted, read: Table) -> Dots | None:
    """Return what the model makes of the key from end to end; None where it sees more than the key."""
    model = fitted.model
    if read.inputs.shape[1] != 1 or model.window != 1 or model.key_only:
        return None
    key = read.inputs[read.key].to_numpy()
    # The last place before each point besides, so that a jump is drawn upright.
    points = np.array(model.points_[1:-1])
    x = np.unique(np.concatenate([np.linspace(key.min(), key.max(), 1000), points, np.nextafter(points, -np.inf)]))
    grid = read.inputs.iloc[:0].reindex(range(len(x)))
    grid[read.key] = x
    return Dots(x=x, truth=np.array([]), predicted=model.predict(grid), index=model.route(grid))


def stretch_of(fitted: Fitted, read: Table) -> Dots | None:
    """Return test rows that follow each other, from where the target moves most; None for rows without an order."""
    if not fitted.ordered:
        return None
    assert read.target is not None
    test = fitted.test
    pieces = np.split(test, np.flatnonzero(np.diff(test) != 1) + 1)
    moved = [float(np.square(np.diff(read.target[piece])).sum()) for piece in pieces]
    rows = pieces[int(np.argmax(moved))]
    length = min(STRETCH, len(rows))
    power = np.convolve(np.square(np.diff(read.target[rows], prepend=read.target[rows[0]])), np.ones(length), "valid")
    begin = int(power.argmax())
    rows = rows[begin : begin + length]
    x = read.row[rows] / read.rate if read.rate else read.row[rows].astype(np.float64)
    return Dots(x=x, truth=read.target[rows], predicted=fitted.predicted[rows], index=fitted.index[rows])
