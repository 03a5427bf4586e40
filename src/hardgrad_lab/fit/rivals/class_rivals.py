"""Rivals of a classifier that are solved, not trained step by step: shares, logistic regression, boosted trees."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # scikit-learn brings it
from torch import Tensor

from hardgrad_lab.baselines.boosting import ClassBoosting
from hardgrad_lab.fit.rivals.budget import CHOOSING
from hardgrad_lab.fit.rivals.design import some
from hardgrad_lab.fit.rivals.solved import Setting
from hardgrad_lab.fit.rows import Array


@dataclass(frozen=True, kw_only=True)
class SolvedClasses:
    """A classifier that was solved.

    Args:
        predict: design rows (n, D) to probabilities (n, C).
        described: what it is, in a line.
        parameters: in all; 0 where counting says nothing.
    """

    predict: Callable[[Array], Array]
    described: str
    parameters: int


def solve_classes(name: str, setting: Setting, classes: int) -> SolvedClasses:
    """Solve a rival by its name, one of ``CLASS_SOLVED``."""
    with threadpool_limits(1):  # one order of all sums, however many cores are free
        return _SOLVERS[name](setting, classes)


def _shares(setting: Setting, classes: int) -> SolvedClasses:
    train = setting.task.train
    counts = np.bincount(_truth(setting, train), weights=setting.weights(train), minlength=classes)
    shares = counts / counts.sum()
    return SolvedClasses(
        predict=lambda rows: np.repeat(shares[None], len(rows), axis=0),
        described="the shares of the classes in the training rows, for every row: always the commonest class",
        parameters=classes,
    )


def _logistic(setting: Setting, classes: int) -> SolvedClasses:
    chosen = setting.rows("logistic")
    x, truth = setting.design.take(setting.task.rows, chosen), _truth(setting, chosen)
    known = np.unique(truth)
    if len(known) < 2:
        return _shares(setting, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(max_iter=500).fit(x, truth, sample_weight=setting.weights(chosen))
    return SolvedClasses(
        predict=lambda rows: _of_all(found.predict_proba(rows), known, classes),
        described=(
            "logistic regression of all inputs, scikit-learn's: one boundary for each class, and no ranges"
            f"{setting.of(chosen)}"
        ),
        parameters=int(found.coef_.size + found.intercept_.size),
    )


def _boosting(setting: Setting, classes: int) -> SolvedClasses:
    chosen = setting.rows("boosting")
    aside = some(setting.task.held_out, CHOOSING, setting.seed)
    rows, design = setting.task.rows, setting.design
    truth = _truth(setting, chosen)
    known = np.unique(truth)
    if len(known) < 2:
        return _shares(setting, classes)
    boosted = ClassBoosting(
        design.take(rows, chosen),
        truth,
        (design.take(rows, aside), _truth(setting, aside)),
        seed=setting.seed,
        weights=(setting.weights(chosen), setting.weights(aside)),
    )
    how = "their number by the held-out rows" if len(aside) else "no rows being held out to choose their number"
    return SolvedClasses(
        predict=lambda rows: _of_all(boosted.predict(rows), known, classes),
        described=(
            f"gradient boosting, scikit-learn's: {boosted.trees} rounds of trees of all inputs, {how}"
            f"{setting.of(chosen)}"
        ),
        parameters=0,
    )


def _truth(setting: Setting, rows: Tensor) -> NDArray[np.int64]:
    truth: NDArray[np.int64] = setting.task.target[rows].cpu().numpy()
    return truth


def _of_all(shares: Array, known: NDArray[np.int64], classes: int) -> Array:
    """Return probabilities of all classes, (n, C): 0 for those that no row solved on had."""
    probabilities = np.zeros((len(shares), classes))
    probabilities[:, known] = shares
    return probabilities


_SOLVERS: dict[str, Callable[[Setting, int], SolvedClasses]] = {
    "boosting": _boosting,
    "logistic": _logistic,
    "shares": _shares,
}
CLASS_SOLVED: tuple[str, ...] = tuple(_SOLVERS)
