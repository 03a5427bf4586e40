"""Gradient boosting of trees: scikit-learn's, stopped early on the rows that choose the networks' weights, too."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn brings it

Array = NDArray[np.float64]
Weights = tuple[Array | None, Array | None]
ROUND, MOST = 50, 300  # trees between two looks at the held-out rows, and in all
WITHOUT = 100  # trees where no rows are held out: scikit-learn's own number


class Boosting:
    """One boosted ensemble for each target; the number of trees with the least held-out error is kept.

    Args:
        x: (n, D). y: (n, T).
        held_out: further rows x and y, which choose the number of trees; may be none.
        weights: (n,) what each row and each held-out row counts for; None where all count the same.
        seed: of scikit-learn's binning.

    Attributes:
        trees: of each target.
    """

    def __init__(
        self, x: Array, y: Array, held_out: tuple[Array, Array], *, seed: int, weights: Weights = (None, None)
    ) -> None:
        out, out_y = held_out
        # On one thread its sums have one order: the same rows give the same trees, bit for bit.
        with threadpool_limits(1):
            found = [_grow((x, y[:, t]), (out, out_y[:, t]), weights, seed) for t in range(y.shape[1])]
        self._models = [model for model, _ in found]
        self.trees = [count for _, count in found]

    def predict(self, x: Array) -> Array:
        """Return (n, T) for x (n, D)."""
        with threadpool_limits(1):
            stages = [model.staged_predict(x) for model in self._models]
            columns = [next(islice(each, count - 1, None)) for each, count in zip(stages, self.trees, strict=True)]
        return np.stack(columns, axis=1)


def _grow(
    rows: tuple[Array, Array], held_out: tuple[Array, Array], weights: Weights, seed: int
) -> tuple[HistGradientBoostingRegressor, int]:
    model = HistGradientBoostingRegressor(early_stopping=False, warm_start=True, random_state=seed)
    out, truth = held_out
    if not len(truth):
        return model.set_params(max_iter=WITHOUT).fit(*rows, sample_weight=weights[0]), WITHOUT
    best, least = 1, np.inf
    for trees in range(ROUND, MOST + 1, ROUND):
        model.set_params(max_iter=trees).fit(*rows, sample_weight=weights[0])
        stages = model.staged_predict(out)
        errors = [float(np.average(np.square(stage - truth), weights=weights[1])) for stage in stages]
        place = int(np.argmin(errors))
        if errors[place] < least:
            best, least = place + 1, errors[place]
        if best <= trees - ROUND:
            break
    return model, best
