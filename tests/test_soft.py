"""Soft operators: their definitions, derivatives, ends, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import hardgrad as hg

F64 = torch.float64


def step(u: Tensor) -> Tensor:
    """The Laplace distribution's function."""
    return torch.where(u < 0, 0.5 * torch.exp(-u.abs()), 1 - 0.5 * torch.exp(-u.abs()))


def matrix(x: Tensor, t: float) -> Tensor:
    """The permutation matrix by its definition: each boundary by bisection."""
    z = x / t
    k = torch.arange(1, len(x), dtype=F64)
    low, high = (z.min() - 99).expand(len(k)), (z.max() + 99).expand(len(k))
    for _ in range(150):
        middle = (low + high) / 2
        less = step(middle[:, None] - z).sum(-1) < k
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return torch.cat([torch.zeros(1, len(x)), step(low[:, None] - z), torch.ones(1, len(x))]).diff(dim=0)


ROWS = [
    torch.tensor([0.3, -1.0, 2.0, 0.31, 5.0, -0.2, 0.9], dtype=F64),
    torch.tensor([0.0, 0, 0, 1, 1, 5, 5, 5, 9], dtype=F64),
    torch.tensor([4.0, 4, 4, 4], dtype=F64),
    torch.linspace(0, 1, 40, dtype=F64).flip(0),
]


@pytest.mark.parametrize("t", [0.01, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("x", ROWS, ids=["values", "ties", "equal", "even"])
def test_laplace_is_its_definition(x: Tensor, t: float) -> None:
    p = matrix(x, t)
    n = len(x)
    torch.testing.assert_close(hg.soft.permutation(x, t, relative=False), p, rtol=0, atol=1e-10)
    torch.testing.assert_close(hg.soft.sort(x, t, relative=False), p @ x, rtol=0, atol=1e-10)
    ranks = step((x[:, None] - x) / t).sum(-1) - 0.5
    torch.testing.assert_close(hg.soft.rank(x, t, relative=False), ranks, rtol=0, atol=1e-10)
    for k in (1, n // 2, n - 1):
        torch.testing.assert_close(hg.soft.top_k_mask(x, k, t, relative=False), p[n - k :].sum(0), rtol=0, atol=1e-10)
