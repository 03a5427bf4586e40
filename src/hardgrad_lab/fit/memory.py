"""Whether a fit's error follows from rows before its window: a device with a memory, taken for one without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.fit.rows import Array, first_rows
from hardgrad_lab.fit.sounds.lags import hats

if TYPE_CHECKING:
    from hardgrad_lab.fit.fitted import Fitted
    from hardgrad_lab.fit.tables import Table

PAST = 64  # rows of a window that is suggested
LEVELS_S = (0.003, 0.01, 0.03, 0.1, 0.3)  # seconds over which a level is taken
LEVELS = (32, 128, 512, 2048)  # rows of the same where there is no rate
FEWEST, MOST = 400, 20_000  # test rows looked at
FOLDS = 10
KNOTS = 64  # of the curve by which the row itself may explain its error
RIDGE = 1e-3
SIGNIFICANT = 3.0  # standard errors
WORTH = 0.05  # of the squared error, that must be explained for certain to be said
MORE = 0.1  # of it, by which a level must explain more than a window to be said instead
MOST_COLUMNS = 8  # of a table that are looked at


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What some rows before would take off the squared error, besides what the row itself explains.

    Args:
        share: of it, from 0 to 1.
        error: its standard error.
    """

    share: float
    error: float

    @property
    def certain(self) -> float:
        """Return the share that is explained at least."""
        return self.share - 2 * self.error

    @property
    def matters(self) -> bool:
        """Return whether it is significant and worth a line."""
        return self.share > SIGNIFICANT * self.error and self.certain > WORTH


def what_came_before(fitted: Fitted, read: Table) -> list[str]:
    """Return a line if rows before those that the branches saw explain the error on the test rows.

    A ridge regression of the error, on folds that it was not fitted to: first on curves of the row itself, then on the
    rows before, too; or on the level over some time, which is what a compressor goes by.

    Args:
        fitted: what a job made.
        read: the table it was fitted to.

    Returns:
        No line for rows without an order, for few, or where the error has nothing to do with what came before.
    """
    return before_matters(read, fitted.test, fitted.predicted, fitted.model.window) if fitted.ordered else []


def before_matters(read: Table, measured: NDArray[np.int64], predicted: Array, seen: int) -> list[str]:
    """Return the same line of any rows.

    Args:
        read: the table, in order of time.
        measured: rows to look at, ascending.
        predicted: (n,) a prediction of every row.
        seen: rows that the model sees, the newest last.
    """
    if len(measured) < FEWEST or read.target is None:
        return []
    rows = measured[np.linspace(0, len(measured) - 1, min(MOST, len(measured))).astype(np.int64)]
    past = _Past(read, rows, seen)
    error = read.target[rows] - predicted[rows]
    if not error.any():
        return []
    now = past.now(predicted[rows])
    window = gain(error, now, past.window())
    levels = {length: gain(error, now, past.level(length, predicted[rows])) for length in past.lengths}
    best = max(levels.values(), key=lambda each: each.share)
    if best.matters and best.share > window.share + MORE:
        length = min(length for length, each in levels.items() if each.share > 0.9 * best.share)
        return [_level_line(length, levels[length], read.rate)]
    if not window.matters:
        return []
    which, wanted = ("each", PAST) if seen == 1 else ("those seen", seen + PAST)
    return [
        f"what came before matters: the {PAST - 1} rows before {which} would explain at least {window.certain:.0%} of "
        f"the squared error; try --window {wanted}"
    ]


def _level_line(length: int, found: Gain, rate: int | None) -> str:
    said = f"{1000 * length / rate:.3g} ms" if rate else f"{length:,} rows"
    return (
        f"what came before matters: the level over the last {said} would explain at least {found.certain:.0%} of the "
        "squared error, as in a compressor; " + ("try --memory auto" if rate else "make the level a column, for --key")
    )


def gain(error: Array, now: Array, before: Array) -> Gain:
    """Return what features of rows before add to features of the row itself, in explaining an error.

    Args:
        error: (m,) in order of time.
        now: (m, A).
        before: (m, B).
    """
    both = np.hstack([now, before])
    both = (both - both.mean(axis=0)) / (both.std(axis=0) + 1e-12)
    folds = np.array_split(np.arange(len(error)), FOLDS)
    less = np.array(_left(error, both[:, : now.shape[1]], folds))
    more = np.array(_left(error, both, folds))
    # Held against the whole error, not what the row leaves of it: a tone's past knows a little of a coarse curve's.
    whole = np.array([float(np.square(error[fold] - error.mean()).sum()) for fold in folds])
    less = min(less, whole, key=np.sum)  # curves of the row that do harm are left away
    share = (less - more).sum() / whole.sum()
    # The spread over what is left when a fold is left out.
    without = ((less - more).sum() - (less - more)) / (whole.sum() - whole)
    spread = np.sqrt((FOLDS - 1) / FOLDS * np.square(without - without.mean()).sum())
    return Gain(share=float(share), error=float(spread))


def _left(error: Array, features: Array, folds: Sequence[NDArray[np.int64]]) -> list[float]:
    """Return the squared error that a ridge regression leaves on each fold, fitted to the others."""
    x = np.hstack([features, np.ones((len(error), 1))])
    gram, right = x.T @ x, x.T @ error
    left = []
    for fold in folds:
        mine, wanted = x[fold], error[fold]
        others, aim = gram - mine.T @ mine, right - mine.T @ wanted
        penalty = RIDGE * (len(error) - len(fold)) * np.eye(len(aim))
        left.append(float(np.square(wanted - mine @ np.linalg.solve(others + penalty, aim)).sum()))
    return left


class _Past:
    """Rows before those looked at, none from another recording: before its first row a recording stood still."""

    def __init__(self, read: Table, rows: NDArray[np.int64], window: int) -> None:
        columns = read.inputs.to_numpy(dtype=np.float64)[:, :MOST_COLUMNS]
        self._columns = (columns - columns.mean(axis=0)) / (columns.std(axis=0) + 1e-12)
        self._rows, self._seen = rows, window
        self._first = first_rows(read.groups, len(read))[rows]
        longest = int(np.bincount(read.groups - read.groups.min()).max())
        wanted = [round(each * read.rate) for each in LEVELS_S] if read.rate else list(LEVELS)
        self.lengths = [length for length in wanted if window < length < longest] or [PAST]

    def now(self, predicted: Array) -> Array:
        """Return curves of the newest row: what an imperfect branch may have missed of it."""
        made = [predicted[:, None]]
        for column in self._columns.T:
            knots = np.unique(np.quantile(column, np.linspace(0, 1, KNOTS)))
            values = column[self._rows]
            made.append(hats(values, knots) if len(knots) > 1 else values[:, None])
        return np.hstack(made)

    def window(self) -> Array:
        """Return the rows before those seen, and their sizes."""
        count = self._columns.shape[1]
        back = np.arange(PAST - 1) if count == 1 else np.unique(np.geomspace(1, PAST - 1, 12).astype(int)) - 1
        at = np.maximum(self._rows[:, None] - self._seen - back, self._first[:, None])
        past = self._columns[at].reshape(len(self._rows), -1)
        return np.hstack([past, np.abs(past)])

    def level(self, length: int, predicted: Array) -> Array:
        """Return the root mean square over the rows before, its logarithm, and both times the prediction."""
        ends = np.maximum(self._rows, self._first + 1)
        begins = np.maximum(self._rows - length, self._first)
        made = []
        for column in self._columns.T:
            total = np.concatenate([[0.0], np.cumsum(np.square(column))])
            size = np.sqrt(np.maximum(total[ends] - total[begins], 0) / (ends - begins))
            made += [size, np.log(size + 1e-3)]
        levels = np.stack(made, axis=1)
        return np.hstack([levels, levels * predicted[:, None]])
