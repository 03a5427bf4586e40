"""Methods whose matrix is made row by row, so that what needs k rows costs k."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hardgrad.soft.method import Method


@dataclass(frozen=True)
class ByRow(Method):
    """A method that defines ``rows``."""

    def rows(self, x: Tensor, start: int, stop: int, t: Tensor) -> Tensor:
        """Return rows of the permutation matrix, from ``start`` to before ``stop``."""
        raise NotImplementedError

    def permutation(self, x: Tensor, t: Tensor) -> Tensor:
        """Return all rows."""
        return self.rows(x, 0, x.shape[-1], t)

    def span(self, x: Tensor, start: int, stop: int, t: Tensor) -> Tensor:
        """Return the values that these rows mix."""
        return (self.rows(x, start, stop, t) * x.unsqueeze(-2)).sum(-1)

    def mask(self, x: Tensor, k: int, t: Tensor) -> Tensor:
        """Return the sum of the last k rows."""
        return self.rows(x, x.shape[-1] - k, x.shape[-1], t).sum(-2)
