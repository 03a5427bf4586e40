"""Projections on the polytope of all orders of a row: piecewise linear, and exactly hard below some temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from hardgrad.hard import precision
from hardgrad.soft.isotonic import blocks, pooled
from hardgrad.soft.method import Method
from hardgrad.soft.temperature import unit


@dataclass(frozen=True)
class Permutahedron(Method):
    r"""The nearest point to x / t among all mixtures of the orders of a row, in O(n log^2 n).

    .. math:: \text{rank} = \arg\min_{y \in P(0 \dots n-1)} \|y - x/t\|^2, \qquad
        \text{mask} = \arg\min_{0 \le y \le 1,\ \sum y = k} \|y - x/t\|^2

    and the sort is the projection of :math:`(0 \dots n-1)\,g^2 / t` on P(x), with g the distance between neighbors in
    evenly spaced values that spread as x's do, so that t has x's unit everywhere. All three are linear in pieces and
    equal the hard ones where neighbors in order are further apart than t (the sort: nearer than g^2 / t). There the
    rank and the mask have no slope. There is no permutation matrix.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([3.0, 1.0, 1.5])
        >>> hg.soft.rank(x, 1.0, method="permutahedron", relative=False).tolist()
        [2.0, 0.25, 0.75]

    Source: Blondel, Teboul, Berthet and Djolonga 2020 (arXiv 2002.08871), propositions 3 and 4, quadratic.
    """

    name: ClassVar[str] = "permutahedron"

    def permutation(self, x: Tensor, t: Tensor) -> NoReturn:
        """Refuse: a point of the polytope of orders is no matrix."""
        raise ValueError(
            "permutation: method must be one with a permutation matrix, got 'permutahedron', which projects vectors; "
            "use 'laplace', 'softsort', 'neuralsort' or 'network'"
        )

    def rank(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the projection of x / t on all orders of 0 .. n - 1."""
        return _projected(x, t, torch.arange(x.shape[-1], device=x.device))

    def mask(self, x: Tensor, k: int, t: Tensor) -> Tensor:
        """Return the projection of x / t on the vectors between 0 and 1 that sum to k."""
        n = x.shape[-1]
        return _projected(x, t, torch.arange(n, device=x.device) >= n - k)

    def sort(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the projection of the positions over t on all orders of x."""
        s, t = precision.double(x).sort(-1).values, precision.double(t)
        z = torch.arange(x.shape[-1], dtype=s.dtype, device=x.device) * unit(s, None).square() / t
        block = blocks((z - s).detach())
        return (z - pooled(z, block) + pooled(s, block)).to(x.dtype)

    def compare(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        """Return the difference over t, from -1 to 1."""
        return ((b - a) / t).clamp(-1, 1)


def _projected(x: Tensor, t: Tensor, w: Tensor) -> Tensor:
    """Project x / t on the mixtures of all orders of w, which ascends."""
    # Double: the difference to a block's mean is lost in single where x is many times t.
    s, order = precision.double(x).sort(-1)
    t, w = precision.double(t), w.to(s.dtype)
    block = blocks((s / t - w).detach())
    y = (s - pooled(s, block)) / t + pooled(w.expand_as(s), block)
    return y.gather(-1, order.argsort(-1)).to(x.dtype)
