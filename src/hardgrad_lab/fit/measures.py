"""What a fit measures on its test rows: numbers by the root of their mean squared error, classes by log loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from hardgrad_lab.fit.estimator import SwitchClassifier, SwitchRegressor
from hardgrad_lab.fit.rivals.compare import Outcome
from hardgrad_lab.fit.rivals.scores import (
    ClassScore,
    Margin,
    Score,
    accuracy,
    log_losses,
    of_ranges,
    r_squared,
    root_mean_square,
)
from hardgrad_lab.fit.rows import Array

Groups = NDArray[Any] | None


class Numbers:
    """Targets that are numbers. Outputs are scaled as the task's targets; errors are in the target's units.

    Args:
        model: fitted.
        truth: (n,) targets of the test rows.
    """

    classes = 0

    def __init__(self, model: SwitchRegressor, truth: Array) -> None:
        self.model, self.truth, self.scaling = model, truth, model.target_scaling_
        self.ranges = len(model.ranges_)
        self.zero: Array = self.scaling.to(np.zeros((1, 1)))[0]

    def predict(self, inputs: pd.DataFrame, groups: Groups) -> tuple[Array, Array]:
        """Return what the model says of rows, (n,), and the outputs that this comes from."""
        predicted = self.model.predict(inputs, groups)
        return predicted, self.scaling.to(predicted[:, None])

    def outputs(self, of_network: Array) -> Array:
        """Return what a rival that is a network says, as the model says it."""
        return of_network

    def errors(self, outputs: Array) -> Array:
        """Return the error of each test row, (n,)."""
        return self.truth - self.scaling.back(outputs)[:, 0]

    def score(self, name: str, outcome: Outcome, index: NDArray[np.int64], apart: Margin | None) -> Score:
        """Return how good a model is; ``index`` (n,) is the range of each test row."""
        errors = self.errors(outcome.outputs)
        return Score(
            name=name,
            **outcome.facts(),
            rmse=root_mean_square(errors),
            r2=r_squared(self.truth, self.truth - errors),
            ranges=of_ranges(root_mean_square, errors, index, self.ranges),
            margin=apart,
        )


class Classes:
    """Targets that are classes. Outputs are probabilities; a row's error is the root of its log loss.

    Args:
        model: fitted.
        names: (n,) classes of the test rows.
    """

    zero = np.zeros(1)

    def __init__(self, model: SwitchClassifier, names: NDArray[Any]) -> None:
        self.model, self.classes = model, len(model.classes_)
        numbers = {str(name): number for number, name in enumerate(model.classes_)}
        # -1 where no row that was fitted to has the class.
        self.truth = np.array([numbers.get(str(name), -1) for name in names], dtype=np.int64)

    def predict(self, inputs: pd.DataFrame, groups: Groups) -> tuple[NDArray[Any], Array]:
        """Return the likeliest class of rows, (n,), and the probabilities of all, (n, C)."""
        probabilities = self.model.predict_proba(inputs, groups)
        return self.model.classes_[probabilities.argmax(axis=1)], probabilities

    def outputs(self, of_network: Array) -> Array:
        """Return what a rival that is a network says, as the model says it."""
        shares: Array = softmax(of_network, axis=1)
        return shares

    def errors(self, outputs: Array) -> Array:
        """Return the root of each test row's log loss, (n,): squares are what a margin averages."""
        roots: Array = np.sqrt(log_losses(outputs, self.truth))
        return roots

    def score(self, name: str, outcome: Outcome, index: NDArray[np.int64], apart: Margin | None) -> ClassScore:
        """Return how good a model is; ``index`` (n,) is the range of each test row."""
        losses = log_losses(outcome.outputs, self.truth)
        return ClassScore(
            name=name,
            **outcome.facts(),
            log_loss=_mean(losses),
            accuracy=accuracy(outcome.outputs, self.truth),
            ranges=of_ranges(_mean, losses, index, len(self.model.ranges_)),
            margin=None if apart is None else apart.squared(),
        )


def _mean(losses: Array) -> float:
    return float(losses.mean())
