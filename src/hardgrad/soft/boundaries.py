r"""Where a row's Laplace sum reaches a whole number: the boundaries between the values of a soft sort.

.. math:: \sum_j F(b_k - z_j) = k, \qquad F'(u) = \tfrac12 e^{-|u|}

Between two neighbors of a sorted row the sum is :math:`m - \tfrac12 A e^{-b} + \tfrac12 B e^{b}`, where m values are
below, A is the sum of :math:`e^{z_j}` over these, and B of :math:`e^{-z_j}` over the others: a quadratic in
:math:`e^b`. It is solved in logarithms, from the two neighbors, so that no distance is too large.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.soft.scans import at, scans

_NO_SUM = -200.0  # the logarithm of a sum of nothing: too small to count, and finite


def boundary(z: Tensor, k: int) -> Tensor:
    """Return the boundary with k values below, (..., 1), of z of shape (..., n) in any order."""
    s = z.sort(-1).values
    sums = scans(torch.ones_like(s), s)
    below = (_reached(*sums) <= k).sum(-1, keepdim=True)
    return _solved(s, *sums, below, k)


def boundaries(s: Tensor, sums: tuple[Tensor, Tensor], first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boundaries with ``first`` to ``last`` values below, of ascending s whose weights of 1 were scanned.

    With them, how many of s are below each, and how many of them are below each of s.
    """
    reached = _reached(*sums).detach()
    above = reached.ceil().long()  # the first boundary that is not below a value, from 1 to n
    ends = torch.zeros_like(torch.cat([above, above[..., :1]], -1))
    below = ends.scatter_add(-1, above, torch.ones_like(above)).cumsum(-1)[..., first : last + 1]
    b = _solved(s, *sums, below, torch.arange(first, last + 1, device=s.device))
    return b, below, reached.floor().long().clamp(first - 1, last) - (first - 1)


def _reached(left: Tensor, right: Tensor) -> Tensor:
    """The sum at each value itself."""
    return torch.arange(left.shape[-1], dtype=left.dtype, device=left.device) + 0.5 + 0.5 * (right - left)


def _solved(s: Tensor, left: Tensor, right: Tensor, below: Tensor, k: Tensor | int) -> Tensor:
    a = torch.where(below == 0, _NO_SUM, at(left, below - 1).log())
    b = torch.where(below == s.shape[-1], _NO_SUM, at(right, below).log())
    low, high = at(s, below - 1), at(s, below)
    more = (k - below).to(s.dtype)
    product = a + b - (high - low)
    root = torch.sqrt(torch.where(more == 0, 1, more * more) + product.exp())
    return 0.5 * (low + high + a - b) + more.sign() * (torch.log(more.abs() + root) - 0.5 * product)
