"""Local expectation, CARMS, unordered sets and double control variates: what their formulas say, and what they cost.

Their means are in test_enumeration, over the whole bank. Statistical tests here: double precision, seed 0 (conftest),
4.5 standard errors.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, OneHotCategorical

import hardgrad as hg
from hardgrad.montecarlo._arms import undo_correlation
from hardgrad.montecarlo._carms import pair_weights
from hardgrad.montecarlo._unordered_set import set_weights
from mc_rows import F64, LOGITS, THETA, bernoulli, one_hot

Q = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], **F64)


def gradient(call: object, make: object, logits: Tensor, f: object) -> Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(call(make(leaf), f).sum(), leaf)[0]  # type: ignore[operator]


def two(logits: Tensor) -> Distribution:
    return Independent(OneHotCategorical(logits=logits), 1)


# Unordered sets


def in_order(q: Tensor, order: tuple[int, ...]) -> float:
    """The probability of drawing these outcomes one after another without replacement."""
    left, found = 1.0, 1.0
    for s in order:
        found *= float(q[s]) / left
        left -= float(q[s])
    return found


@pytest.mark.parametrize("taken", [(0, 1), (4, 2), (0, 2, 4), (3, 1, 2, 0)])
def test_the_weights_of_a_set_are_sums_over_its_orders(taken: tuple[int, ...]) -> None:
    outside = 1 - Q[list(taken)].sum()
    weights, given = set_weights(Q[list(taken)].log(), outside.log())
    orders = {order: in_order(Q, order) for order in itertools.permutations(taken)}
    whole = sum(orders.values())
    for i, s in enumerate(taken):
        first = sum(p for order, p in orders.items() if order[0] == s)
        assert weights[i].item() == pytest.approx(first / whole)
        for j, other in enumerate(taken):
            second = sum(p for order, p in orders.items() if order[:2] == (s, other)) / first
            expected = Q[s] if i == j else (1 - Q[s]) * second
            assert given[i, j].item() == pytest.approx(float(expected))


def test_as_many_samples_as_outcomes_are_the_expectation() -> None:
    f = lambda b: (1.5 * (b.flatten(-2) * torch.arange(6.0)).sum(-1)).sin()  # noqa: E731
    rows = torch.stack([LOGITS[:2], 3 * LOGITS[:2]])
    few = partial(hg.unordered_set, samples=9)
    torch.testing.assert_close(gradient(few, two, rows, f), gradient(hg.exact, two, rows, f))
    torch.testing.assert_close(few(two(rows), f), hg.exact(two(rows), f))


def test_sets_of_many_and_of_rare_outcomes() -> None:
    """Of 50,000 words ten have 1e-47, less than single precision holds; and a set that is nearly all of the mass."""
    words = torch.zeros(2, 50_000)
    found = gradient(partial(hg.unordered_set, samples=10), lambda g: Categorical(logits=g), words, torch.Tensor.float)
    assert found.isfinite().all()
    assert (found != 0).sum() >= 20
    steep = torch.tensor([[0.0, -30.0, -60.0, -90.0]])
    found = gradient(partial(hg.unordered_set, samples=3), one_hot, steep, lambda b: (b * torch.arange(4.0)).sum(-1))
    expected = steep.double().softmax(-1) * torch.arange(4.0)
    torch.testing.assert_close(found[:, 1:3].double(), expected[:, 1:3], rtol=1e-5, atol=0)


def test_a_set_of_too_many_units_says_so() -> None:
    q = Independent(Bernoulli(logits=torch.zeros(13)), 1)
    with pytest.raises(
        ValueError,
        match=r"unordered_set: an event of several units, or a KSubset, may .* 4096 outcomes, got 8192; use sc",
    ):
        hg.unordered_set(q, lambda b: b.sum(-1))
    with pytest.raises(ValueError, match=r"unordered_set: samples must be at least 2 and at most 10, got 11"):
        hg.unordered_set(Categorical(logits=torch.zeros(30)), torch.Tensor.float, samples=11)


# Local expectation


def test_each_unit_asks_for_neighbors_that_can_happen() -> None:
    seen: list[Tensor] = []
    logits = torch.tensor([[[0.3, -torch.inf, 0.1], [0.0, 0.2, -0.4]]], **F64).requires_grad_()

    def f(b: Tensor) -> Tensor:
        seen.append(b.clone())
        return (b * torch.tensor([1.0, torch.inf, 3.0])).nan_to_num(0, torch.inf).sum((-1, -2))

    q = Independent(OneHotCategorical(logits=logits, validate_args=False), 1)
    hg.each_unit(q, lambda b: f(b).clamp(max=9), samples=3)
    (b,) = seen
    assert b.shape == (3 * (1 + 2 * 2), 1, 2, 3)
    assert not b[..., 0, 1].any()
    changed = (b[3:].view(2, 2, 3, 1, 2, 3) != b[:3]).any(-1).sum(-1)  # (outcomes - 1, places, samples, rows)
    assert (changed[:, 1] == 1).all()
    assert (changed[:, 0].sum(0) == 1).all()  # of the other two outcomes one cannot happen: the draw again


@pytest.mark.parametrize("units", [None, 2, 3])
def test_each_unit_of_a_sum_over_units_has_no_noise(units: int | None) -> None:
    f = lambda b: (b * torch.tensor([1.0, -2.0, 0.5])).sin().sum(-1)  # noqa: E731
    found, expected = (gradient(c, bernoulli, LOGITS, f) for c in (partial(hg.each_unit, units=units), hg.exact))
    assert units == 2 or torch.allclose(found, expected)
    chosen = (found != 0).sum(-1)
    assert (chosen == (units or 3)).all()
    torch.testing.assert_close(found[found != 0], (expected * 3 / (units or 3))[found != 0])


def test_more_units_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"each_unit: units must be at most 3, which is all of an event, got 4; leave"):
        hg.each_unit(bernoulli(LOGITS.clone().requires_grad_()), lambda b: b.sum(-1), units=4)


# CARMS


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_carms_draws_part_as_often_as_their_weights_say(samples: int) -> None:
    n, seen = 40_000, []
    logits = Q.log().roll(2).expand(n, 5).clone().requires_grad_()
    hg.carms(Categorical(logits=logits), lambda b: seen.append(b.clone()) or b.double(), samples=samples)
    q, b = Q.roll(2), torch.nn.functional.one_hot(seen[0], 5).double()

    def assert_share(found: Tensor, truth: Tensor) -> None:
        assert ((found - truth).abs() <= 4.5 * (truth * (1 - truth) / n).sqrt()).all()

    order = q.argsort()
    stops = q[order] / q[order].flip(-1).cumsum(-1).flip(-1)
    first = torch.minimum(order.argsort().unsqueeze(0), order.argsort().unsqueeze(1))
    joint = torch.outer(q, q) / pair_weights(stops, samples)[first]
    apart = ~torch.eye(5, dtype=torch.bool)
    for i, j in itertools.combinations(range(samples), 2):
        assert_share(b[i].mean(0), q)
        assert_share((b[i].T @ b[j] / n)[apart], joint[apart])


def test_of_two_outcomes_carms_is_arms() -> None:
    rarer = torch.tensor([0.0, 1e-12, 0.1, 0.3, 0.5], **F64)
    stops = torch.stack([rarer, torch.ones_like(rarer)], -1)
    for samples in (2, 3, 9):
        torch.testing.assert_close(pair_weights(stops, samples)[:, 0], undo_correlation(rarer, samples))


@pytest.mark.parametrize("spread", [0.1, 1.0, 20.0])
def test_the_weights_of_carms_are_bounded(spread: float) -> None:
    for ways, samples in itertools.product((3, 8, 40), (2, 3, 8)):
        q = torch.distributions.Dirichlet(torch.full((ways,), spread, **F64)).sample(torch.Size((300,))).sort(-1).values
        weights = pair_weights(q / q.flip(-1).cumsum(-1).flip(-1), samples)[:, :-1]
        assert weights.min() >= 0.5 - 1e-9
        assert weights.max() < 1.5


# Double control variates


@pytest.mark.parametrize("make", [bernoulli, one_hot])
def test_without_its_scale_it_is_leave_one_out(make: object) -> None:
    f = lambda b: (1.5 * (b * THETA).sum(-1)).exp()  # noqa: E731
    found = []
    for call in (partial(hg.double_cv, scale=0.0), partial(hg.score_function, baseline="leave_one_out")):
        torch.manual_seed(1)
        found.append(gradient(partial(call, samples=4), make, LOGITS, f))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("make", [bernoulli, one_hot])
def test_of_a_linear_function_it_has_no_noise(make: object) -> None:
    f = lambda b: (b * THETA).sum(-1)  # noqa: E731
    torch.testing.assert_close(gradient(hg.double_cv, make, LOGITS, f), gradient(hg.exact, make, LOGITS, f))


# What they save: the variance over that of leave-one-out with as many evaluations of f


def variance(call: object, make: object, logits: Tensor, f: object, rows: int = 4000) -> float:
    return gradient(call, make, logits.expand(rows, *logits.shape), f).var(0).sum().item()


@pytest.mark.parametrize(
    ("call", "evaluations", "many", "share"),
    [  # measured: a share of 0.09, 0.07, 0.21, 0.83 and 0.73
        (hg.each_unit, 31, False, 0.15),
        (partial(hg.double_cv, samples=4), 4, False, 0.12),
        (partial(hg.double_cv, samples=4), 4, True, 0.3),
        (hg.carms, 4, True, 0.92),
        (partial(hg.unordered_set, samples=3), 3, True, 0.83),
    ],
)
def test_calmer_than_leave_one_out_at_equal_evaluations(
    call: object, evaluations: int, many: bool, share: float
) -> None:
    """Of 4,000 rows a variance is known to a few per cent."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 4) if many else (30,)
    inner = torch.randn(math.prod(shape), 32, generator=generator, **F64) / math.prod(shape) ** 0.5
    outer = torch.randn(32, generator=generator, **F64)
    f = lambda b: ((b.flatten(-2) if many else b) @ inner).tanh() @ outer  # noqa: E731
    logits = torch.randn(shape, generator=generator, **F64)
    rival = partial(hg.score_function, samples=evaluations, baseline="leave_one_out")
    make = two if many else bernoulli
    found = variance(call, make, logits, f) / variance(rival, make, logits, f)
    assert found < share
