"""How good predictions are: over all rows, and range by range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.tabular.rows import Array


@dataclass(frozen=True, kw_only=True)
class Score:
    r"""One model measured on rows it was not trained on.

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum (y - \bar y)^2}

    Args:
        name: of the model.
        described: what it is, in a line.
        rmse: root of the mean squared error, in the target's units.
        r2: None where the target does not vary.
        ranges: the RMSE of each range; None for a range without a row.
        parameters: in all.
        active: that take part in one row's prediction.
        updates: optimiser steps; 0 for a closed form.
        seconds: of training.
    """

    name: str
    described: str
    rmse: float
    r2: float | None
    ranges: Sequence[float | None]
    parameters: int
    active: int
    updates: int
    seconds: float


def root_mean_square(errors: Array) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean(np.square(errors))))


def r_squared(truth: Array, predicted: Array) -> float | None:
    """Return R squared; None where the truth does not vary."""
    around = float(np.square(truth - truth.mean()).sum())
    return None if around == 0 else 1 - float(np.square(truth - predicted).sum()) / around


def per_range(errors: Array, index: NDArray[np.int64], ranges: int) -> list[float | None]:
    """Return the RMSE of each range; None for a range without a row."""
    return [root_mean_square(errors[index == i]) if (index == i).any() else None for i in range(ranges)]
