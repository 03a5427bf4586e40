"""Gradient boosting of trees: scikit-learn's, stopped early on the rows that choose the networks' weights, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # scikit-learn brings it

Array = NDArray[np.float64]
Weights = tuple[Array | None, Array | None]
ROUND, MOST = 50, 300  # trees between two looks at the held-out rows, and in all
OPTIONS: dict[str, Any] = {"early_stopping": False, "warm_start": True}  # we stop, on rows of our choice
LEAST = 1e-15  # a probability below counts as this much
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
        out, truth = held_out
        self._models, self.trees = [], []
        # On one thread its sums have one order: the same rows give the same trees, bit for bit.
        with threadpool_limits(1):
            for t in range(y.shape[1]):
                model = HistGradientBoostingRegressor(**OPTIONS, random_state=seed)
                stages, losses = partial(_stages, model, out), partial(_squared, truth[:, t])
                self.trees.append(_grow(model, partial(model.fit, x, y[:, t]), stages, losses, weights, len(out)))
                self._models.append(model)

    def predict(self, x: Array) -> Array:
        """Return (n, T) for x (n, D)."""
        with threadpool_limits(1):
            stages = [model.staged_predict(x) for model in self._models]
            columns = [next(islice(each, count - 1, None)) for each, count in zip(stages, self.trees, strict=True)]
        return np.stack(columns, axis=1)


class ClassBoosting:
    """A boosted ensemble for classes, which are numbers from 0; the rounds with the least held-out log loss are kept.

    Args:
        x: (n, D). y: (n,), at least two classes.
        held_out: further rows x and y, which choose the number of rounds; may be none.
        weights: as of ``Boosting``.
        seed: likewise.

    Attributes:
        trees: rounds, of a tree for each class.
    """

    def __init__(
        self,
        x: Array,
        y: NDArray[np.int64],
        held_out: tuple[Array, NDArray[np.int64]],
        *,
        seed: int,
        weights: Weights = (None, None),
    ) -> None:
        out, truth = held_out
        known = np.unique(y)
        place = np.where(np.isin(truth, known), np.searchsorted(known, truth), -1)
        with threadpool_limits(1):
            self._model = HistGradientBoostingClassifier(**OPTIONS, random_state=seed)
            stages, losses = partial(_stages, self._model, out), partial(_log_loss, place)
            self.trees = _grow(self._model, partial(self._model.fit, x, y), stages, losses, weights, len(out))

    def predict(self, x: Array) -> Array:
        """Return the probabilities of the classes that y has, (n, C), for x (n, D)."""
        with threadpool_limits(1):
            shares: Array = next(islice(self._model.staged_predict_proba(x), self.trees - 1, None))
        return shares


def _grow(
    model: Any,
    fit: Callable[..., Any],
    stages: Callable[[], Iterator[Array]],
    losses: Callable[[Array], Array],
    weights: Weights,
    held_out: int,
) -> int:
    """Grow a model round by round until the held-out rows have had enough; return the best number of rounds."""
    if not held_out:
        model.set_params(max_iter=WITHOUT)
        fit(sample_weight=weights[0])
        return WITHOUT
    best, least = 1, np.inf
    for trees in range(ROUND, MOST + 1, ROUND):
        model.set_params(max_iter=trees)
        fit(sample_weight=weights[0])
        errors = [float(np.average(losses(stage), weights=weights[1])) for stage in stages()]
        place = int(np.argmin(errors))
        if errors[place] < least:
            best, least = place + 1, errors[place]
        if best <= trees - ROUND:
            break
    return best


def _stages(model: Any, x: Array) -> Iterator[Array]:
    """Yield what the model makes of rows after each round."""
    found: Iterator[Array] = getattr(model, "staged_predict_proba", model.staged_predict)(x)
    return found


def _squared(truth: Array, stage: Array) -> Array:
    loss: Array = np.square(stage - truth)
    return loss


def _log_loss(truth: NDArray[np.int64], stage: Array) -> Array:
    shares = np.where(truth >= 0, stage[np.arange(len(truth)), truth], 0.0)
    loss: Array = -np.log(np.maximum(shares, LEAST))
    return loss
