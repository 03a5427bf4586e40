"""The ridge line: affine in all inputs, its strength by cross-validation. It sees all rows, and keeps none."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.baselines.moments import ALPHAS, Array, Line, Moments, total

FOLDS = 5


def folds(rows: int, *, ordered: bool, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, (rows,): stretches where rows follow each other in time, at random where not."""
    numbers = np.arange(rows) * FOLDS // max(1, rows)
    return numbers if ordered else np.random.default_rng(seed).permutation(numbers)


class RidgeLine:
    """Ridge regression on standardized inputs; five folds choose among strengths.

    Args:
        parts: chunks of rows x (n, D), y (n, T), the fold of each row (n,) and its weight (n,), or None.

    Attributes:
        line: of all rows. alpha: that was chosen.
    """

    def __init__(self, parts: Iterable[tuple[Array, Array, NDArray[np.int64], Array | None]]) -> None:
        found: dict[int, Moments] = {}
        inputs = 0
        for x, y, fold, weight in parts:
            inputs = x.shape[1]
            for number in np.unique(fold).tolist():
                mine = fold == number
                part = Moments.of(x[mine], y[mine], None if weight is None else weight[mine])
                found[number] = found[number] + part if number in found else part
        self.alpha = min(ALPHAS, key=lambda alpha: _unseen_error(found, inputs, alpha))
        self.line: Line = total(found.values()).ridge(inputs, self.alpha)

    @property
    def parameters(self) -> int:
        """Return how many numbers make the line."""
        return self.line.slopes.size + self.line.constant.size

    def predict(self, x: Array) -> Array:
        """Return (n, T) for x (n, D)."""
        return self.line(x)


def _unseen_error(found: dict[int, Moments], inputs: int, alpha: float) -> float:
    if len(found) < 2:
        return 0.0
    others = [(found[k], total(part for j, part in found.items() if j != k)) for k in found]
    return sum(mine.error(rest.ridge(inputs, alpha)) for mine, rest in others)
