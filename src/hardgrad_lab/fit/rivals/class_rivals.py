"""Rivals of a classifier that are solved: shares, logistic regression, boosted trees. They predict probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from hardgrad_lab.baselines.boosting import ClassBoosting
from hardgrad_lab.fit.rivals.budget import CHOOSING
from hardgrad_lab.fit.rivals.design import some
from hardgrad_lab.fit.rivals.solved import Setting, SolvedRival, in_chunks
from hardgrad_lab.fit.rows import Array, Rows


def _shares(setting: Setting) -> SolvedRival:
    train = setting.task.train
    counts = np.bincount(_truth(setting, train), weights=setting.weights(train), minlength=setting.classes)
    shares = counts / counts.sum()
    return SolvedRival(
        predict=lambda rows, chosen: np.repeat(shares[None], len(chosen), axis=0),
        described="the shares of the classes in the training rows, for every row: always the commonest class",
        parameters=setting.classes,
        active=setting.classes,
    )


def _logistic(setting: Setting) -> SolvedRival:
    chosen = setting.rows("logistic")
    x, truth = setting.design.take(setting.task.rows, chosen), _truth(setting, chosen)
    known = np.unique(truth)
    if len(known) < 2:
        return _shares(setting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(max_iter=500).fit(x, truth, sample_weight=setting.weights(chosen))
    return SolvedRival(
        predict=lambda rows, chosen: _of_all(setting, found.predict_proba, known, rows, chosen),
        described=(
            "logistic regression of all inputs, scikit-learn's: one boundary for each class, and no ranges"
            f"{setting.of(chosen)}"
        ),
        parameters=(size := int(found.coef_.size + found.intercept_.size)),
        active=size,
    )


def _boosting(setting: Setting) -> SolvedRival:
    chosen = setting.rows("boosting")
    aside = some(setting.task.held_out, CHOOSING, setting.seed)
    rows, design = setting.task.rows, setting.design
    truth = _truth(setting, chosen)
    known = np.unique(truth)
    if len(known) < 2:
        return _shares(setting)
    boosted = ClassBoosting(
        design.take(rows, chosen),
        truth,
        (design.take(rows, aside), _truth(setting, aside)),
        seed=setting.seed,
        weights=(setting.weights(chosen), setting.weights(aside)),
    )
    how = "their number by the held-out rows" if len(aside) else "no rows being held out to choose their number"
    return SolvedRival(
        predict=lambda rows, chosen: _of_all(setting, boosted.predict, known, rows, chosen),
        described=(
            f"gradient boosting, scikit-learn's: {boosted.trees} rounds of trees of all inputs, {how}"
            f"{setting.of(chosen)}"
        ),
        parameters=0,
        active=0,
    )


def _truth(setting: Setting, rows: Tensor) -> NDArray[np.int64]:
    truth: NDArray[np.int64] = setting.task.target[rows].cpu().numpy()
    return truth


def _of_all(
    setting: Setting, predict: Callable[[Array], Array], known: NDArray[np.int64], rows: Rows, chosen: Tensor
) -> Array:
    """Return probabilities of all classes, (n, C): 0 for those that no row solved on had."""
    shares = in_chunks(setting.design, predict, rows, chosen)
    probabilities = np.zeros((len(shares), setting.classes))
    probabilities[:, known] = shares
    return probabilities


CLASS_SOLVERS: dict[str, Callable[[Setting], SolvedRival]] = {
    "boosting": _boosting,
    "logistic": _logistic,
    "shares": _shares,
}
