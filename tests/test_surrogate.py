"""Straight-through and its twins beyond the laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.surrogate import twins

X = torch.tensor([-2.0, -0.3, 0.0, 0.4, 3.0], dtype=torch.float64)

# Derivatives written from their formulas.
DERIVATIVES: dict[str, tuple[twins.SoftTwin, Callable[[float], float]]] = {
    "clipped": (twins.clipped(-1.0, 1.0), lambda v: float(-1 <= v <= 1)),
    "sigmoid": (
        twins.sigmoid(3.0, center=0.5),
        lambda v: 3 * math.exp(-3 * (v - 0.5)) / (1 + math.exp(-3 * (v - 0.5))) ** 2,
    ),
    "tanh": (twins.tanh(2.0), lambda v: 2 / math.cosh(2 * v) ** 2),
    "arctan": (twins.arctan(2.0), lambda v: 1 / (1 + (math.pi * v) ** 2)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_twins_lend_their_derivative(name: str) -> None:
    soft, derivative = DERIVATIVES[name]
    x = X.clone().requires_grad_()
    y = hg.straight_through(hg.hard.sign, soft)(x)
    y.sum().backward()
    assert torch.equal(y, X.sign())
    torch.testing.assert_close(x.grad, torch.tensor([derivative(v) for v in X.tolist()], dtype=torch.float64))


def test_twin_of_a_whole_program_is_not_the_twin_of_its_steps() -> None:
    """Forward the whole hard rule, backward the whole soft rule: of 'sign of x, where x is large'."""

    def rule(x: Tensor, sign: Callable[[Tensor], Tensor], step: Callable[[Tensor], Tensor]) -> Tensor:
        return sign(x) * step(x.abs() - 0.35)

    layer = hg.straight_through(
        lambda x: rule(x, torch.sign, hg.hard.step), lambda x: rule(x, torch.tanh, torch.sigmoid)
    )
    x = X.clone().requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.tolist() == [-1.0, 0.0, 0.0, 1.0, 1.0]
    z = X.clone().requires_grad_()
    rule(z, torch.tanh, torch.sigmoid).sum().backward()
    assert torch.equal(x.grad, z.grad)


def test_a_module_twin_is_trained_by_the_task() -> None:
    soft = nn.Linear(5, 2).double()
    layer = hg.straight_through(lambda x: hg.hard.top_k(x, 2), soft)
    layer(X[None].clone().requires_grad_()).sum().backward()
    assert soft.weight.grad.abs().sum() > 0


def test_twins_are_data() -> None:
    """What they are is shown, and slopes of two layers are not mixed up."""
    first, second = twins.sigmoid(2.0), twins.sigmoid(5.0, center=1.0)
    assert "slope=5.0" in repr(second)
    assert torch.equal(first(X), torch.sigmoid(2 * X))
    assert torch.equal(second(X), torch.sigmoid(5 * (X - 1)))


def test_shape_changes_need_a_twin() -> None:
    layer = hg.straight_through(lambda x: hg.hard.top_k(x, 2))
    with pytest.raises(ValueError, match=r"the identity must return.*got \(5,\) and hard \(2,\).*hardgrad.Bridge"):
        layer(X.clone().requires_grad_())
    with pytest.raises(ValueError, match=r"soft must return the hard function's shape, got \(4,\)"):
        hg.straight_through(hg.hard.sort, lambda x: x[:4])(X.clone().requires_grad_())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: twins.clipped(1.0, 1.0), "clipped: low must be below high, got low=1.0 and high=1.0"),
        (lambda: twins.sigmoid(0.0), "sigmoid: slope must be above 0, got 0.0"),
        (lambda: twins.tanh(-1.0), "tanh: slope must be above 0, got -1.0"),
        (lambda: twins.arctan(math.nan), "arctan: slope must be above 0 and finite, got nan"),
        (lambda: twins.sigmoid(math.inf), "sigmoid: slope must be above 0 and finite, got inf; it is the steepness"),
        (lambda: twins.sigmoid(1.0, math.nan), "sigmoid: center must be finite, got nan"),
        (lambda: twins.tanh(1.0, -math.inf), "tanh: center must be finite, got -inf"),
        (lambda: twins.tanh("2"), "tanh: slope must be a number, got str"),
        (lambda: twins.arctan(torch.ones(2)), "arctan: slope must be a number, got a tensor"),
        (lambda: twins.arctan(1.0, True), "arctan: center must be a number, got bool"),
        (lambda: twins.clipped(math.nan, 1.0), "clipped: low must be a number, got nan"),
        (lambda: twins.clipped(0.0, None), "clipped: high must be a number, got NoneType"),
        (lambda: hg.straight_through(5), "straight_through: hard must be a function.*got int"),
        (lambda: hg.straight_through(hg.hard.sign, soft=5), "straight_through: soft must be a function.*got int"),
        (
            lambda: hg.straight_through(hg.hard.sign, differentiable_in_eval="yes"),
            "straight_through: differentiable_in_eval must be True or False, got str 'yes'",
        ),
        (lambda: hg.straight_through(hg.hard.sign)(X.long()), r"straight_through\(sign\): the input must be floating"),
        (lambda: hg.straight_through(hg.hard.sign)(X * 1j), r"straight_through\(sign\): the input must be floating"),
        (
            lambda: hg.straight_through(torch.argsort)(X),
            r"straight_through\(argsort\): hard must return a floating dtype",
        ),
        (lambda: hg.straight_through(lambda t: t.tolist())(X), "hard must return a tensor, got list"),
        (lambda: hg.straight_through(hg.hard.sign, lambda t: t.tolist())(X), "soft must return a floating.*got list"),
        (lambda: hg.straight_through(hg.hard.sign, torch.argsort)(X), "soft must return a floating.*got torch.int64"),
        (lambda: hg.straight_through(hg.hard.sign)([1.0]), "the input must be floating point, got list"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()
