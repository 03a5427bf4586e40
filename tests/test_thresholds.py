"""Thresholds, margins and levels that are tensors: their values, and the gradients that twins lend them."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, vmap

import hardgrad as hg
from hardgrad.surrogate import twins

STEPS = {"sigmoid": twins.sigmoid(2.0, 0.3), "tanh": twins.tanh(), "arctan": twins.arctan(), "clipped": twins.clipped()}


@pytest.mark.parametrize("name", STEPS)
def test_a_threshold_moves_the_center_of_a_twin(name: str) -> None:
    x, t = torch.randn(5, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    layer = hg.straight_through(hg.hard.step, STEPS[name])
    y = layer(x, t)
    assert torch.equal(y, (x >= t).float())
    gx, gt = torch.autograd.grad(y.sum(), (x, t))
    moved = (x - t).detach().requires_grad_()
    torch.testing.assert_close(gx, torch.autograd.grad(STEPS[name](moved).sum(), moved)[0])
    torch.testing.assert_close(gt, -gx.sum(0))
    torch.testing.assert_close(grad(lambda t: layer(x.detach(), t).sum())(t.detach()), gt)
    by_row = vmap(grad(lambda t, row: layer(row, t).sum()), (None, 0))(t.detach(), x.detach())
    torch.testing.assert_close(by_row.sum(0), gt)


def test_in_eval_a_threshold_gets_zeros_and_a_word() -> None:
    for compiled in (False, True):
        layer = hg.straight_through(hg.hard.step, twins.sigmoid(2.0 + compiled)).eval()
        x, t = torch.randn(5, 3, requires_grad=True), torch.randn(3, requires_grad=True)
        f = torch.compile(layer, backend="aot_eager", fullgraph=True) if compiled else layer
        with pytest.warns(UserWarning, match="in eval"):
            f(x, t).sum().backward()
        assert x.grad is not None
        assert t.grad is not None
        assert not x.grad.any()
        assert not t.grad.any()
        if not compiled:
            assert layer(x.detach(), t.detach()).requires_grad is False


def test_a_threshold_without_a_twin_is_refused() -> None:
    with pytest.raises(ValueError, match="soft must be given"):
        hg.straight_through(hg.hard.step)(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="floating point, got torch"):
        hg.straight_through(hg.hard.step, twins.tanh())(torch.zeros(2), torch.zeros(2, dtype=torch.long))
