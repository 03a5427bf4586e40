"""A piecewise-linear table of one number: least squares for its values, cross-validation for its number of knots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

Array = NDArray[np.float64]
COUNTS = tuple(2**k for k in range(1, 10))  # knots that are tried
FIRM = 1e-9  # that keeps a knot without rows from having any value


class KnotTable:
    """Linear interpolation between knots; keys outside take the last value.

    Knots are at equal distances or at quantiles, whichever the folds like better: a table of as many knots as the
    switch has parameters, which nobody would choose, is no rival.

    Args:
        key: (n,). y: (n, T). fold: (n,) of each row. weight: (n,) what each counts for; None where all count the same.
        counts: numbers of knots that are tried.

    Attributes:
        knots: (K,) that were chosen. values: (K, T) at them.
    """

    def __init__(
        self,
        key: Array,
        y: Array,
        fold: NDArray[np.int64],
        weight: Array | None = None,
        counts: Sequence[int] = COUNTS,
    ) -> None:
        share = np.ones(len(key)) if weight is None else weight
        tried = {len(knots): knots for knots in (np.linspace(key.min(), key.max(), count) for count in counts)}
        spread = [np.unique(np.quantile(key, np.linspace(0, 1, count))) for count in counts]
        ladders = [knots for knots in [*tried.values(), *spread] if 2 <= len(knots) <= max(2, len(key) // 2)]
        self.knots: Array = min(ladders, key=lambda knots: _unseen_error(knots, key, y, fold, share), default=key[:1])
        self.values = _solve(self.knots, key, y, share)

    @property
    def parameters(self) -> int:
        """Return the number of values."""
        return self.values.size

    def predict(self, key: Array) -> Array:
        """Return (n, T) for keys (n,)."""
        return np.stack([np.interp(key, self.knots, column) for column in self.values.T], axis=1)


def _solve(knots: Array, key: Array, y: Array, weight: Array) -> Array:
    """Return the values of least squares; only neighbouring knots share rows, so the equations have three diagonals."""
    middle: Array = np.average(y, axis=0, weights=weight)
    if len(knots) == 1:
        return middle[None]
    place = np.interp(key, knots, np.arange(len(knots)))
    left = np.minimum(place.astype(np.int64), len(knots) - 2)
    share, count = place - left, len(knots)
    bands = np.zeros((2, count))
    bands[1] = np.bincount(left, weight * (1 - share) ** 2, count) + np.bincount(left + 1, weight * share**2, count)
    bands[0, 1:] = np.bincount(left, weight * share * (1 - share), count)[:-1]
    wanted = (y - middle) * weight[:, None]
    right = [np.bincount(left, (1 - share) * t, count) + np.bincount(left + 1, share * t, count) for t in wanted.T]
    bands[1] += FIRM * weight.sum()
    values: Array = solveh_banded(bands, np.stack(right, axis=1)) + middle
    return values


def _unseen_error(knots: Array, key: Array, y: Array, fold: NDArray[np.int64], weight: Array) -> float:
    error = 0.0
    for number in np.unique(fold).tolist():
        out = fold == number
        if out.any() and not out.all():
            values = _solve(knots, key[~out], y[~out], weight[~out])
            for column, truth in zip(values.T, y[out].T, strict=True):
                error += float(weight[out] @ np.square(np.interp(key[out], knots, column) - truth))
    return error
