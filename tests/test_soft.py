"""Soft operators: what they share, and what the Laplace method does that others do not."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import hardgrad as hg
from hardgrad.soft.method import Method
from hardgrad.user_code import writes_nowhere

F64 = torch.float64
OPERATORS: dict[str, Callable[..., Tensor]] = {
    "sort": hg.soft.sort,
    "rank": hg.soft.rank,
    "top_k": partial(hg.soft.top_k, k=2),
    "top_k_mask": partial(hg.soft.top_k_mask, k=2),
    "permutation": hg.soft.permutation,
    "quantile": partial(hg.soft.quantile, q=0.3),
    "median": hg.soft.median,
    "argmax": hg.soft.argmax,
}
HARD: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": hg.hard.sort,
    "rank": hg.hard.rank,
    "top_k": partial(hg.hard.top_k, k=2),
    "top_k_mask": partial(hg.hard.top_k_mask, k=2),
    "permutation": hg.hard.permutation,
    "quantile": partial(hg.hard.quantile, q=0.3),
    "median": hg.hard.median,
    "argmax": hg.hard.one_hot_argmax,
}
VALUES = ("sort", "top_k", "quantile", "median")
every = pytest.mark.parametrize("name", OPERATORS)


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def gradient(y: Tensor, x: Tensor, create_graph: bool = False) -> Tensor:
    weight = torch.linspace(-1.0, 2.0, y.numel(), dtype=torch.float64).to(y.dtype).view_as(y)
    return torch.autograd.grad((y * weight).sum(), x, create_graph=create_graph)[0]


# ------------------------------------------------------------------------------------------------- the temperature


@every
def test_one_temperature_serves_every_scale_and_offset(name: str) -> None:
    x, operator = values(3, 9), OPERATORS[name]
    there = operator(1e3 * x - 70, temperature=0.6)
    here = 1e3 * operator(x, temperature=0.6) - 70 if name in VALUES else operator(x, temperature=0.6)
    torch.testing.assert_close(there, here, rtol=0, atol=1e-9 * float(here.abs().max()))


@pytest.mark.parametrize("n", [2, 5, 40])
def test_a_relative_temperature_counts_gaps(n: int) -> None:
    """Evenly spaced values, whatever their number: one gap is the distance between neighbors."""
    x = 0.37 * torch.arange(n, dtype=F64).flip(0) + 5
    for operator in OPERATORS.values():
        torch.testing.assert_close(
            operator(x, temperature=0.8), operator(x, temperature=0.8 * 0.37, relative=False), rtol=0, atol=1e-12
        )


def test_neighbors_mix_alike_in_rows_of_every_length() -> None:
    shares = [
        float(hg.soft.permutation(torch.arange(n, dtype=F64), 1.0)[n // 2, n // 2].detach()) for n in (41, 101, 301)
    ]
    assert max(shares) - min(shares) < 1e-6  # what is left of the ends of the row


@every
@pytest.mark.parametrize("row", [[0.3, -1.0, 2.0, 0.4, 1.1], [0.0, 0.0, 1.0, 1.0, 3.0], [1.0, 1.01, 1.02, 3.0, 2.99]])
def test_derivatives_know_the_unit_and_the_temperature(name: str, row: list[float]) -> None:
    x = torch.tensor([row, [2.0, 5.0, 3.0, 1.0, 4.0]], dtype=F64, requires_grad=True)
    t = torch.tensor([[0.8], [1.5]], dtype=F64, requires_grad=True)
    assert gradcheck(lambda x, t: OPERATORS[name](x, temperature=t), (x, t))
    assert gradgradcheck(lambda x, t: OPERATORS[name](x, temperature=t), (x, t), fast_mode=True)


@every
def test_equal_values_share_and_have_finite_derivatives(name: str) -> None:
    x = torch.full((2, 4), 0.1, dtype=F64, requires_grad=True)
    y = OPERATORS[name](x, temperature=0.5)
    first = gradient(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert all(bool(part.isfinite().all()) for part in (y, first, second))
    if name not in VALUES:
        assert torch.allclose(y, y.mean())


@every
@pytest.mark.parametrize("zero", [0, 0.0, torch.tensor(0.0)])
def test_at_zero_it_is_the_hard_function(name: str, zero: Any) -> None:
    x = torch.tensor([[2.0, 1.0, 2.0, -3.0, math.nan], [0.0, 0.0, 0.0, math.inf, -math.inf]])
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        found, right = OPERATORS[name](x.to(dtype), temperature=zero), HARD[name](x.to(dtype))
        assert found.dtype == right.dtype
        torch.testing.assert_close(found, right, rtol=0, atol=0, equal_nan=True)


def test_at_zero_it_is_the_hard_function_of_the_other_order_too() -> None:
    x = torch.tensor([2.0, 1.0, 2.0, -3.0, math.nan])
    down = {name: operator(x, temperature=0.0, descending=True).tolist() for name, operator in OPERATORS.items()}
    assert str(down["sort"]) == "[nan, 2.0, 2.0, 1.0, -3.0]"  # NaN is the largest
    assert down["rank"] == [1, 3, 2, 4, 0]
    assert down["top_k"] == [-3, 1]
    assert down["top_k_mask"] == [0, 1, 0, 1, 0]
    assert down["permutation"][:2] == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    assert down["quantile"] == pytest.approx(2.0)  # 1.2 places from the top, between the two twos
    assert down["median"] == 2
    assert down["argmax"] == [0, 0, 0, 1, 0]
    assert hg.soft.quantile(x[:4], 0.9, 0.0, descending=True).item() == pytest.approx(-3 + 0.3 * 4)


@every
def test_a_small_temperature_comes_to_the_hard_function(name: str) -> None:
    x = values(4, 7)
    torch.testing.assert_close(OPERATORS[name](x, temperature=1e-4), HARD[name](x), rtol=0, atol=1e-12)


@every
def test_a_tensor_holds_one_temperature_for_each_row(name: str) -> None:
    x = values(3, 6)
    t = torch.tensor([[0.4], [0.0], [2.0]], dtype=F64, requires_grad=True)
    rows = OPERATORS[name](x, temperature=t)
    right = [
        OPERATORS[name](x[0], temperature=0.4),
        HARD[name](x[1]),
        OPERATORS[name](x[2], temperature=2.0),
    ]
    torch.testing.assert_close(rows, torch.stack(right), rtol=0, atol=1e-12)
    slope = gradient(rows, t)
    assert slope[0] != 0
    assert slope[1] == 0


def test_a_temperature_stands_along_the_dimension_that_is_ordered() -> None:
    x, t = values(5, 3), torch.tensor([[0.4, 1.0, 2.0]], dtype=F64)
    torch.testing.assert_close(hg.soft.rank(x, t, dim=0), hg.soft.rank(x.T, t.T).T)


# ------------------------------------------------------------------------------------------------------ what it takes


@every
def test_half_is_single_rounded_once_and_finite_at_every_scale(name: str) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        for scale in (1e-4, 1.0, 1e4):
            for t in (0.01, 1.0, 10.0):
                x = (scale * values(4, 32)).to(dtype).requires_grad_()
                y = OPERATORS[name](x, temperature=t)
                assert torch.equal(y, OPERATORS[name](x.float(), temperature=t).to(dtype))
                assert gradient(y, x).isfinite().all()


@every
def test_the_input_is_left_alone_and_may_be_strided(name: str) -> None:
    wide = values(5, 6, 2)
    x = wide[..., 0].T  # (6, 5), of another stride
    before = wide.clone()
    leaf = x.detach().requires_grad_()
    y = OPERATORS[name](leaf, temperature=0.7)
    first, again = (torch.autograd.grad(y.sum(), leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(wide, before)
    assert torch.equal(first, again)
    torch.testing.assert_close(y, OPERATORS[name](x.contiguous(), temperature=0.7))
    y.mul_(2.0)  # nobody else's memory


@pytest.mark.parametrize("down", [False, True])
def test_infinities_and_nan_are_the_ends_and_change_nothing_else(down: bool) -> None:
    inner = torch.tensor([0.3, -0.2, 1.0, 0.9], dtype=F64)
    row = torch.tensor([0.3, math.nan, -0.2, -math.inf, 1.0, math.inf, 0.9], dtype=F64, requires_grad=True)
    finite = row.detach().isfinite()
    ranks, mask = hg.soft.rank(row, 1.0, descending=down), hg.soft.top_k_mask(row, 4, 1.0, descending=down)
    below = 2 if down else 1  # NaN and inf, or -inf
    right = hg.soft.rank(inner, 1.0, descending=down) + below
    torch.testing.assert_close(ranks[finite], right, rtol=0, atol=1e-12)
    assert ranks.detach()[[1, 3, 5]].tolist() == ([0, 6, 1] if down else [6, 0, 5])
    right = hg.soft.top_k_mask(inner, 3 if down else 2, 1.0, descending=down)
    torch.testing.assert_close(mask[finite], right, rtol=0, atol=1e-12)
    ordered = hg.soft.sort(row, 1.0, descending=down)
    at = slice(2, 6) if down else slice(1, 5)
    torch.testing.assert_close(ordered[at], hg.soft.sort(inner, 1.0, descending=down), rtol=0, atol=1e-10)
    ends = ordered.detach().flip(0) if down else ordered.detach()
    assert ends[[0, 5]].tolist() == [-math.inf, math.inf]
    assert ends[6].isnan()
    slope = gradient(ranks, row)
    assert bool((slope[~finite] == 0).all())
    assert bool((slope[finite] != 0).all())


@every
def test_a_row_of_none_or_of_no_numbers_at_all(name: str) -> None:
    assert OPERATORS[name](torch.zeros(0, 5), temperature=1.0).shape == HARD[name](torch.zeros(0, 5)).shape
    nothing = torch.full((4,), math.nan)
    y = OPERATORS[name](nothing, temperature=1.0)
    assert bool(y.isnan().all()) if name in VALUES else bool(y.isfinite().all())
    assert (
        OPERATORS[name](torch.zeros(3, 5, device="meta"), temperature=1.0).shape == HARD[name](torch.zeros(3, 5)).shape
    )


def test_without_dimensions_it_is_a_vector_of_one() -> None:
    x = torch.tensor(3.0)
    for name in set(OPERATORS) - {"top_k", "top_k_mask", "permutation"}:
        assert torch.equal(OPERATORS[name](x, temperature=1.0), HARD[name](x))
    assert torch.equal(hg.soft.top_k_mask(x, 1, 1.0), torch.tensor(1.0))


@pytest.mark.parametrize("k", [0, 6])
def test_a_mask_of_none_or_of_all_has_a_gradient_of_zeros(k: int) -> None:
    x = values(2, 6).requires_grad_()
    mask = hg.soft.top_k_mask(x, k, 0.5)
    assert torch.equal(mask, torch.full_like(mask, min(k, 1)))
    assert torch.equal(gradient(mask, x), torch.zeros_like(x))


# ------------------------------------------------------------------------------------------------------------ laplace


@pytest.mark.parametrize("reach", [1e4, 1e8, 1e30])
def test_distances_of_many_temperatures_are_exact(reach: float) -> None:
    """Two pairs of close values, far apart: each pair is as it would be alone."""
    x = torch.tensor([0.0, 1.0, reach, reach + 1], dtype=F64, requires_grad=True)
    pair = torch.tensor([0.0, 1.0], dtype=F64, requires_grad=True)
    close = 1 if reach < 1e16 else 0.5  # where x's own digits end, the upper pair is one of equals
    rank, mask = (partial(f, temperature=1.0, relative=False) for f in (hg.soft.rank, hg.soft.top_k_mask))
    for y, alone in ((rank(x), rank(pair)), (mask(x, k=3), mask(pair, k=1))):
        torch.testing.assert_close(y[:2], alone, rtol=0, atol=1e-7)
        torch.testing.assert_close(gradient(y[:2], x)[:2], gradient(alone, pair), rtol=0, atol=1e-7)
    assert float(hg.soft.rank(x, 1.0, relative=False)[2].detach()) == pytest.approx(
        2 + (0.5 * math.exp(-1) if close == 1 else 0.5), abs=1e-6
    )


def test_memory_is_linear() -> None:
    """A matrix of these rows would be 34 GB."""
    x = values(1, 65_536).float().requires_grad_()
    for operator in (hg.soft.sort, hg.soft.rank, partial(hg.soft.top_k_mask, k=100)):
        assert gradient(operator(x, temperature=2.0), x).isfinite().all()


def test_long_rows_agree_with_the_pairs() -> None:
    """By the sum over all pairs, as it is defined."""
    x, c, t = values(900, seed=4).requires_grad_(), values(900, seed=5), 0.01
    ranks, ordered = (f(x, t, relative=False) for f in (hg.soft.rank, hg.soft.sort))
    u = (x.unsqueeze(-1) - x) / t
    steps = torch.where(u < 0, 0.5 * torch.exp(-u.abs()), 1 - 0.5 * torch.exp(-u.abs()))
    torch.testing.assert_close(ranks, steps.sum(-1) - 0.5, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ordered, hg.soft.permutation(x, t, relative=False) @ x, rtol=1e-9, atol=1e-9)
    slope = torch.exp(-u.abs()).fill_diagonal_(0.0).detach() / (2 * t)
    torch.testing.assert_close(torch.autograd.grad(ranks, x, c)[0], c * slope.sum(-1) - slope @ c, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("name", ["sort", "rank", "top_k", "top_k_mask"])
def test_forward_mode_and_a_compiled_derivative_are_the_backward(name: str) -> None:
    """Where plain operations stand in for the Functions."""
    operator = partial(OPERATORS[name], temperature=0.7)
    x = values(2, 6)
    right = torch.autograd.functional.jacobian(operator, x)
    torch.testing.assert_close(torch.func.jacfwd(operator)(x), right, rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.func.jacrev(operator)(x), right, rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------------------------------- as users do


def test_as_a_twin_it_gives_integers_forward_and_slopes_back() -> None:
    layer = hg.straight_through(hg.hard.rank, soft=partial(hg.soft.rank, temperature=1.0))
    x = values(3, 8).requires_grad_()
    y = pickle.loads(pickle.dumps(copy.deepcopy(layer)))(x)
    assert torch.equal(y, x.argsort(-1).argsort(-1).to(F64))
    torch.testing.assert_close(gradient(y, x), gradient(hg.soft.rank(x, 1.0), x))


@dataclass(frozen=True)
class Even(Method):
    """Everything is a mean of everything."""

    name: ClassVar[str] = "even"

    def permutation(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(x, 1 / x.shape[-1]).unsqueeze(-2).expand(*x.shape, x.shape[-1])


def test_a_method_of_the_users_own_is_its_matrix() -> None:
    x = values(2, 4)
    mean = x.mean(-1, keepdim=True).expand(2, 4)
    torch.testing.assert_close(hg.soft.sort(x, 1.0, method=Even()), mean)
    torch.testing.assert_close(hg.soft.top_k(x, 2, 1.0, method=Even()), mean[:, :2])
    torch.testing.assert_close(hg.soft.rank(x, 1.0, method=Even()), torch.full((2, 4), 1.5, dtype=F64))
    torch.testing.assert_close(hg.soft.top_k_mask(x, 3, 1.0, method=Even()), torch.full((2, 4), 0.75, dtype=F64))


def test_what_is_known_to_write_nowhere() -> None:
    assert writes_nowhere(partial(hg.soft.sort, temperature=0.1))
    assert writes_nowhere(partial(hg.soft.sort, temperature=0.1, method="softsort"))
    assert not writes_nowhere(partial(hg.soft.sort, temperature=0.1, method=Even()))


X = torch.zeros(2, 3)
MISTAKES: list[tuple[Callable[[], Tensor], type[Exception], str]] = [
    (lambda: hg.soft.sort(X, -1.0), ValueError, "sort: temperature must be at least 0, got -1"),
    (lambda: hg.soft.sort(X, torch.tensor(-1.0)), ValueError, "sort: temperature must be at least 0 and finite"),
    (lambda: hg.soft.rank(X, torch.ones(3)), ValueError, r"rank: temperature .*with \(2, 1\), got shape \(3,\)"),
    (lambda: hg.soft.rank(X, torch.ones(1, 2, 1)), ValueError, r"rank: temperature .*got shape \(1, 2, 1\)"),
    (lambda: hg.soft.rank(X, torch.tensor(1)), ValueError, "rank: temperature must be floating point"),
    (lambda: hg.soft.rank(X.long(), 1.0), TypeError, "rank: x must be of dtype"),
    (lambda: hg.soft.sort(X, 1.0, dim=2), ValueError, "sort: dim must be from -2 to 1"),
    (lambda: hg.soft.top_k(X, 4, 1.0), ValueError, "top_k: k must be from 1 to 3, the size of dim -1, got 4"),
    (lambda: hg.soft.top_k_mask(X, -1, 1.0), ValueError, "top_k_mask: k must be from 0 to 3"),
    (lambda: hg.soft.quantile(X, 1.5, 1.0), ValueError, "quantile: q must be at least 0 and at most 1, got 1.5"),
    (lambda: hg.soft.median(X[:, :0], 1.0), ValueError, "median: x must have at least one entry along dim -1"),
    (lambda: hg.soft.sort(X, 1.0, method="lapsum"), ValueError, "sort: method must be one of 'laplace', 'softsort'"),
    (lambda: hg.soft.sort(X, 1.0, method=3), TypeError, "sort: method must be one of 'laplace'"),  # type: ignore[arg-type]
    (lambda: hg.soft.sort(X, 1.0, relative=1), TypeError, "sort: relative must be True or False"),  # type: ignore[arg-type]
    (lambda: hg.soft.permutation(X[0, 0], 1.0), ValueError, r"permutation: x must have shape \(..., entries\)"),
]


@pytest.mark.parametrize(("call", "kind", "words"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_are_named(call: Callable[[], Tensor], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()


def test_a_negative_temperature_that_nothing_can_read_is_nan() -> None:
    t = torch.tensor([-1.0, 1.0], dtype=F64)
    y = torch.func.vmap(lambda x, t: hg.soft.rank(x, t))(values(2, 4), t)
    assert bool(y[0].isnan().all())
    assert bool(y[1].isfinite().all())


@pytest.mark.parametrize("operator", [hg.soft.rank, hg.soft.argmax, partial(hg.soft.top_k_mask, k=1)])
def test_two_values_and_a_relative_temperature_say_that_there_is_no_slope(operator: Callable[..., Tensor]) -> None:
    x = torch.tensor([[0.3, 0.1], [0.2, 0.9]], requires_grad=True)
    with pytest.warns(UserWarning, match=r"of two values a relative temperature leaves no slope, .* relative=False"):
        operator(x, temperature=1.0)[:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() < 1e-6
    x.grad = None
    operator(x, temperature=1.0, relative=False)[:, 0].sum().backward()  # a warning is an error from here on
    assert x.grad.abs().min() > 1e-3
    operator(x.detach(), temperature=1.0), operator(x, temperature=0.0)


@pytest.mark.parametrize("n", [2, 3, 7, 40])
@pytest.mark.parametrize("gap", [1e-4, 3.0])
def test_a_relative_temperature_counts_in_gaps_of_evenly_spaced_values(n: int, gap: float) -> None:
    """So one number means the same for any length, scale and offset: t gaps, which are t times the gap in x's unit."""
    x = (torch.arange(n, dtype=F64) * gap - 5).flip(0)
    for operator in (hg.soft.sort, hg.soft.rank):
        torch.testing.assert_close(operator(x, 0.7), operator(x, 0.7 * gap, relative=False), rtol=1e-9, atol=1e-9)
