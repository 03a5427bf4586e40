"""Least squares from sums over rows, which can be added: neither long recordings nor folds need their rows twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ALPHAS = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # strengths of ridge that are tried, as shares of a column's own variance
FLAT = 1e-12  # variance of a column of standardized inputs, below which it does not vary


@dataclass(frozen=True)
class Line:
    """An affine map of x (n, D) to (n, T).

    Args:
        slopes: (D, T).
        constant: (T,).
    """

    slopes: Array
    constant: Array

    def __call__(self, x: Array) -> Array:
        y: Array = x @ self.slopes + self.constant
        return y


@dataclass(frozen=True)
class Moments:
    r"""Number, mean and scatter of rows z = (x, y), x of D columns and y of T.

    .. math:: S = \sum_i (z_i - \bar z)(z_i - \bar z)^T

    Args:
        count: of rows, or the sum of their weights.
        mean: (D + T,).
        scatter: (D + T, D + T).

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 5)[:, None]
        >>> both = Moments.of(x[:2], 3 * x[:2] + 1) + Moments.of(x[2:], 3 * x[2:] + 1)
        >>> both.ridge(1, 0.0)(np.array([[10.0]])).round(6).tolist()
        [[31.0]]
    """

    count: float
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, x: Array, y: Array, weight: Array | None = None) -> Moments:
        """Return the moments of rows x (n, D), y (n, T), each counted ``weight`` (n,) times, or once."""
        z = np.concatenate([x, y], axis=1)
        share = np.ones(len(z)) if weight is None else weight
        count = float(share.sum())
        mean = share @ z / count if count else np.zeros(z.shape[1])
        apart = z - mean
        return cls(count, mean, (apart * share[:, None]).T @ apart)

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        # Chan, Golub and LeVeque 1983: means far apart beside the scatter lose no digits, as plain sums would.
        scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), scatter)

    def ridge(self, inputs: int, alpha: float) -> Line:
        """Return the line of least squares whose slopes pay ``alpha`` times their column's own scatter."""
        inner = self.scatter[:inputs, :inputs]
        paid = alpha * np.diag(inner) + FLAT * max(self.count, 1.0)
        found = np.linalg.solve(inner + np.diag(paid), self.scatter[:inputs, inputs:])
        slopes: Array = np.asarray(found, dtype=np.float64)
        return Line(slopes, self.mean[inputs:] - self.mean[:inputs] @ slopes)

    def error(self, line: Line) -> float:
        """Return the squared error of a line summed over these rows."""
        inputs = len(line.slopes)
        way = np.concatenate([-line.slopes, np.eye(len(line.constant))])
        middle = self.mean[inputs:] - self.mean[:inputs] @ line.slopes - line.constant
        return float(np.einsum("it,ij,jt->", way, self.scatter, way) + self.count * np.square(middle).sum())


def total(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all rows of all parts, of which there is at least one."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
