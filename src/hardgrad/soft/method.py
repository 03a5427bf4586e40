"""What a method of relaxing an order is: a permutation matrix that is soft, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Method:
    """One way to relax an order, ascending, along the last dimension; whatever it is told is a field of it.

    The operators hand over ``x`` of shape (..., n), n at least 1, all finite, and a positive temperature ``t`` of x's
    dtype, single at least, that broadcasts with (..., 1). A method defines ``permutation`` and what it does better than
    by way of that; all are functions of x and t alone that torch can differentiate, and write to neither.
    """

    name: ClassVar[str]  # how ``method=`` is told, and the errors' word

    def permutation(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (..., n, n): row i says where the i-th smallest comes from."""
        raise NotImplementedError(
            f"permutation: method {self.name!r} has no permutation matrix; use method='laplace', which has one"
        )

    def sort(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the values in ascending order, (..., n)."""
        # Not a matrix product: autocast would round that to half precision.
        return (self.permutation(x, t) * x.unsqueeze(-2)).sum(-1)

    def span(self, x: Tensor, start: int, stop: int, t: Tensor) -> Tensor:
        """Return the values of the ascending order from place ``start`` to before ``stop``."""
        return self.sort(x, t)[..., start:stop]

    def rank(self, x: Tensor, t: Tensor) -> Tensor:
        """Return each value's position from 0, (..., n): the mean of the rows, weighed by its column."""
        matrix = self.permutation(x, t)
        rows = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device).unsqueeze(-1)
        return (matrix * rows).sum(-2) / matrix.sum(-2)

    def mask(self, x: Tensor, k: int, t: Tensor) -> Tensor:
        """Return how much each value is of the k largest, (..., n), of sum k; k is from 1 to n."""
        return self.permutation(x, t)[..., x.shape[-1] - k :, :].sum(-2)

    def compare(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        """Return how far b is above a, from -1 to 1: what their ranks in a row of two differ by; they broadcast."""
        ranks = self.rank(torch.stack(torch.broadcast_tensors(a, b), -1), t.unsqueeze(-1))
        return ranks[..., 1] - ranks[..., 0]
