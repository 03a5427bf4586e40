"""Rivals of a classifier that are solved, not trained step by step: shares, logistic regression, boosted trees."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.tabular.rows import Array
from hardgrad_lab.tabular.solved import Setting

MOST_ROWS = 100_000  # that a rival is solved on: all have learnt what they can by then


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
    train = setting.task.train
    chosen = train if len(train) <= MOST_ROWS else train[np.linspace(0, len(train) - 1, MOST_ROWS).astype(np.int64)]
    truth: NDArray[np.int64] = setting.task.target[chosen].cpu().numpy()
    if name == "shares":
        return _shares(truth, classes)
    x = setting.design.take(setting.task.rows, chosen)
    found = _logistic(x, truth) if name == "logistic" else _boosting(x, truth, setting.seed)
    known = np.unique(truth)

    def predict(rows: Array) -> Array:
        probabilities = np.zeros((len(rows), classes))
        probabilities[:, known] = found.predict_proba(rows)
        return probabilities

    if name == "logistic":
        described = "logistic regression of all inputs, scikit-learn's: one boundary for each class, and no ranges"
        return SolvedClasses(predict=predict, described=described, parameters=int(found.coef_.size + len(known)))
    described = f"gradient boosting, scikit-learn's: {found.n_iter_} rounds of trees of all inputs"
    return SolvedClasses(predict=predict, described=described, parameters=0)


def _shares(truth: NDArray[np.int64], classes: int) -> SolvedClasses:
    shares = np.bincount(truth, minlength=classes) / len(truth)
    return SolvedClasses(
        predict=lambda rows: np.repeat(shares[None], len(rows), axis=0),
        described="the shares of the classes in the training rows, for every row: always the commonest class",
        parameters=classes,
    )


def _logistic(x: Array, truth: NDArray[np.int64]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(max_iter=500).fit(x, truth)


def _boosting(x: Array, truth: NDArray[np.int64], seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Classes of one row cannot be held out by share.
    early = bool(np.bincount(truth)[np.unique(truth)].min() >= 10)
    return HistGradientBoostingClassifier(early_stopping=early, random_state=seed).fit(x, truth)


CLASS_SOLVED = ("boosting", "logistic", "shares")
