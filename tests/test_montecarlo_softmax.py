"""The softmax of short rows is torch's, in value and in derivatives, whichever way it is computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hardgrad.montecarlo import units
from hardgrad.montecarlo.discrete import log_softmax_of, softmax_of

BOTH: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
    (softmax_of, lambda t: t.softmax(-1)),
    (log_softmax_of, lambda t: t.log_softmax(-1)),
]
# Above and below the number of elements from which on rows are taken apart; 17 outcomes never are.
SHAPES = [(3, 2), (2000, 2), (700, 3), (4, 150, 5), (300, 7), (200, 17)]


@pytest.mark.parametrize(("ours", "theirs"), BOTH)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_torchs_in_value_and_two_derivatives(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape, dtype=torch.float64) * 5, torch.randn(shape, dtype=torch.float64)
    found = []
    for softmax in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = softmax(leaf)
        (first,) = torch.autograd.grad((y * weight).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad((first * weight).sum(), leaf)
        found.append((y.detach(), first.detach(), second))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("ours", "theirs"), BOTH)
def test_scores_without_hope_and_scores_without_bound(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor]
) -> None:
    x = torch.tensor([[0.0, -torch.inf, 1.0], [1e4, 9e3, -torch.inf], [-1e4, -1e4, 3.0]]).repeat(700, 1)
    weight = torch.where(x.isfinite(), torch.ones(()), 0)  # nothing comes back from where nothing can happen
    found = []
    for softmax in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = softmax(leaf)
        y.backward(weight)
        assert leaf.grad is not None
        found.append((y.detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1])
    assert not found[0][1].isnan().any()


def test_rows_are_taken_apart_where_they_are_short_and_many() -> None:
    assert units._is_slow(torch.zeros(2000, 3))
    assert not units._is_slow(torch.zeros(10, 3))
    assert not units._is_slow(torch.zeros(2000, 16))
    assert not units._is_slow(torch.zeros(2000, 3, device="meta"))
