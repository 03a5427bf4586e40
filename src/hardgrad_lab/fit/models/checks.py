"""What the estimators ask of their parameters: each error names the parameter, the rule and the value got."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

import hardgrad as hg
from hardgrad_lab.fit.options import LOSSES, OPTIMIZERS
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.training.branches import check_branch

_VALIDATE: Any = validate_data  # scikit-learn has no types, and what X and y are by default is words


def check_parameters(estimator: Any) -> None:
    """Raise a ValueError for the first parameter of an estimator that cannot be."""
    if estimator.points is not None:
        hg.Ranges(estimator.points)
    check_branch(estimator.branch, estimator.hidden)
    for name, allowed in (("loss", LOSSES), ("optimizer", OPTIMIZERS), ("normalize", ("auto", True, False))):
        value = getattr(estimator, name)
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    for name in ("search", "window", "patience"):
        _whole(name, getattr(estimator, name))
    for name in ("epochs", "batch_size"):
        if getattr(estimator, name) != "auto":
            _whole(name, getattr(estimator, name), ' or "auto"')
    if not 0 < estimator.lr < math.inf:
        raise ValueError(f"lr must be a number greater than 0, got {estimator.lr!r}")
    if not 0 <= estimator.validation < 1:
        raise ValueError(f"validation must be a share from 0 to below 1, got {estimator.validation!r}")
    if estimator.learn_points and not estimator.validation:
        raise ValueError(
            "validation must be above 0 where points are learned, got 0: a point moves only if held-out rows gain"
        )


def rows_and_targets(estimator: Any, X: ArrayLike, y: ArrayLike, *, numeric: bool) -> tuple[Array, NDArray[Any]]:
    """Return what scikit-learn makes of rows and targets, and let the estimator remember the columns."""
    checked = _VALIDATE(estimator, X, y, dtype=np.float64, y_numeric=numeric, multi_output=numeric)
    return checked[0], checked[1]


def rows_like_those_fitted(estimator: Any, X: ArrayLike) -> Array:
    """Return what scikit-learn makes of rows, whose columns must be those that the estimator was fitted to."""
    columns: Array = _VALIDATE(estimator, X, dtype=np.float64, reset=False)
    return columns


def check_groups(groups: ArrayLike | None, n: int) -> NDArray[np.generic] | None:
    """Return groups as an array, or raise a ValueError if they are not one label a row."""
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must be one label for each of {n} rows, got shape {labels.shape}")
    return labels


def check_weights(sample_weight: ArrayLike | None, n: int) -> Array | None:
    """Return weights of rows as an array, or raise a ValueError if they are not one number from 0 up for each row."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must be one number for each of {n} rows, got shape {weight.shape}")
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        raise ValueError(
            f"sample_weight must be 0 or more and finite, got {weight[wrong[0]]:g} in row {wrong[0]} and in "
            f"{len(wrong) - 1} more rows; 0 leaves a row out"
        )
    if not weight.any():
        raise ValueError(f"sample_weight must not be zero for all rows, got 0 for all {n}; there is nothing to fit to")
    return weight


def _whole(name: str, value: object, otherwise: str = "") -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1{otherwise}, got {value!r}")
