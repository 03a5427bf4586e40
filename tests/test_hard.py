"""Hard functions against plain Python, on every dtype and leading shape; samplers against their frequencies."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cases import HARD
from hardgrad import hard
from hardgrad.hard import clusters

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
numbers = st.lists(st.floats(-8, 8, width=16), min_size=3, max_size=9)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_leading_shape_and_dtype(name: str, dtype: torch.dtype) -> None:
    function, sample = HARD[name].function, HARD[name].sample
    x = torch.randn(2, 3, *sample).to(dtype)
    whole = function(x)
    assert whole.dtype == dtype
    for i, j in itertools.product(range(2), range(3)):
        assert torch.equal(whole[i, j], function(x[i, j]))


@pytest.mark.parametrize("name", HARD)
def test_input_is_left_alone(name: str) -> None:
    x = torch.randn(2, *HARD[name].sample)
    before = x.clone()
    HARD[name].function(x)
    assert torch.equal(x, before)


@settings(deadline=None, max_examples=50)
@given(numbers)
def test_elementwise_against_python(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    mean = sum(values) / len(values)
    expected = {
        hard.sign(x, margin=0.5): [-1 if v < -0.5 else 1 if v > 0.5 else 0 for v in values],
        hard.sign(x): [(v > 0) - (v < 0) for v in values],
        hard.step(x, threshold=0.25): [1 if v >= 0.25 else 0 for v in values],
        hard.round(x): [round(v) for v in values],
    }
    for actual, wanted in expected.items():
        assert actual.tolist() == wanted
    clear = [abs(v - mean) > 1e-9 for v in values]
    wanted = [float(v >= mean) for v in values]
    assert [a for a, c in zip(hard.binarize(x).tolist(), clear, strict=True) if c] == [
        w for w, c in zip(wanted, clear, strict=True) if c
    ]


@settings(deadline=None, max_examples=50)
@given(numbers, st.integers(2, 9))
def test_quantize_gives_the_nearest_level(values: list[float], levels: int) -> None:
    grid = [-1.0 + 3.0 * i / (levels - 1) for i in range(levels)]
    for v, y in zip(
        values, hard.quantize(torch.tensor(values, dtype=torch.float64), levels, -1.0, 2.0).tolist(), strict=True
    ):
        assert min(abs(y - g) for g in grid) < 1e-12
        assert abs(y - v) <= min(abs(g - v) for g in grid) + 1e-12


@settings(deadline=None, max_examples=50)
@given(numbers)
def test_order_functions_against_python(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    order = sorted(range(len(values)), key=lambda i: values[i])  # Python's sort is stable too
    largest = sorted(order, key=lambda i: (-values[i], i))[:2]
    assert hard.sort(x).tolist() == sorted(values)
    assert hard.rank(x).tolist() == [order.index(i) for i in range(len(values))]
    assert hard.permutation(x).argmax(-1).tolist() == order
    assert hard.permutation(x).sum(0).tolist() == hard.permutation(x).sum(1).tolist() == [1.0] * len(values)
    assert hard.top_k(x, 2).tolist() == sorted(values, reverse=True)[:2]
    assert hard.top_k_mask(x, 2).tolist() == [float(i in largest) for i in range(len(values))]
    assert hard.one_hot_argmax(x).argmax().item() == values.index(max(values))
    assert hard.one_hot_argmax(x).sum() == 1


def test_dim_is_honoured() -> None:
    x = torch.randn(3, 4, 5)
    for function in (hard.sort, hard.rank, hard.one_hot_argmax, hard.binarize, lambda t, dim: hard.top_k(t, 2, dim)):
        assert torch.equal(function(x, dim=1), function(x.mT, dim=-1).mT)
    assert torch.equal(hard.top_k_mask(x, 2, dim=1), hard.top_k_mask(x.mT, 2).mT)
    assert torch.equal(hard.quantile(x, 0.3, dim=1), hard.quantile(x.mT, 0.3))
    assert torch.equal(hard.median(x, dim=1), hard.median(x.mT))


def test_sort_rows_cols_and_the_top_k_of_it() -> None:
    x = torch.randn(2, 3, 4)
    both = hard.sort_rows_cols(x)
    for b in range(2):
        assert both[b, :3].tolist() == [sorted(row) for row in x[b].tolist()]
        assert both[b, 3:].T.tolist() == [sorted(column) for column in x[b].T.tolist()]
    top = hard.top_k(both.flatten(-2), 5)
    assert top.tolist() == [sorted(both[b].flatten().tolist(), reverse=True)[:5] for b in range(2)]


def test_nearest_code_against_a_loop() -> None:
    x, codes = torch.randn(6, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    for row, y in zip(x, hard.nearest_code(x, codes), strict=True):
        assert torch.equal(y, min(codes, key=lambda c: math.dist(row.tolist(), c.tolist())))


def test_nearest_code_tells_close_codes_far_from_zero_apart() -> None:
    codes = torch.tensor([[4096.0], [4096.25]])
    assert hard.nearest_code(torch.tensor([[4096.2]]), codes).item() == 4096.25


def test_kmeans_finds_separate_clusters_whatever_the_order() -> None:
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    points = (centers.repeat_interleave(8, 0) + torch.randn(24, 2, dtype=torch.float64))[None]
    quantized = hard.kmeans(points, 3)
    for c in range(3):
        torch.testing.assert_close(quantized[0, 8 * c : 8 * c + 8], points[0, 8 * c : 8 * c + 8].mean(0).expand(8, 2))
    shuffle = torch.randperm(24)
    torch.testing.assert_close(hard.kmeans(points[:, shuffle], 3), quantized[:, shuffle])
    assert torch.equal(hard.kmeans(points, 3), quantized)


def test_kmeans_is_a_fixed_point_of_lloyd_and_beats_random_centers() -> None:
    points = torch.randn(30, 2, dtype=torch.float64)
    quantized = hard.kmeans(points, 5, iterations=100)
    for center in quantized.unique(dim=0):
        members = (quantized == center).all(-1)
        torch.testing.assert_close(points[members].mean(0), center)
    inertia = (points - quantized).square().sum()
    for _ in range(20):
        random = points[torch.randperm(30)[:5]]
        assert inertia < (points - hard.nearest_code(points, random)).square().sum()


def test_kmeans_restarts_empty_clusters_at_the_farthest_points() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0], [3.0]])
    centers = clusters._lloyd(points, torch.tensor([[2.0], [100.0], [200.0]]))
    assert centers.flatten().tolist() == [3.5, 10.0, 0.0]


def test_kmeans_with_equal_points() -> None:
    points = torch.tensor([[0.0], [0.0], [0.0], [0.0], [5.0], [6.0]])
    assert hard.kmeans(points, 3).flatten().tolist() == [0.0, 0.0, 0.0, 0.0, 5.0, 6.0]
    assert hard.kmeans(torch.ones(6, 2), 4).tolist() == torch.ones(6, 2).tolist()  # fewer places than clusters


def test_samplers_hit_their_probabilities() -> None:
    # n = 100,000 draws, seed 0; each frequency within 4.5 standard errors of its probability.
    n, generator = 100_000, torch.Generator().manual_seed(0)
    for dtype in DTYPES:
        p = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).to(dtype)
        _assert_frequencies(hard.bernoulli(p.expand(n, 5), generator=generator), p)
        weights = torch.tensor([0.0, 3.0, 1.0, 0.0, 4.0, 0.0]).to(dtype)
        drawn = hard.categorical(weights.expand(n, 6), generator=generator)
        assert (drawn.sum(-1) == 1).all()
        _assert_frequencies(drawn, weights / 8)


def test_categorical_never_draws_a_class_without_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.rand(1000, 4) * torch.tensor([0.0, 1.0, 1.0, 0.0])
    for uniform in (0.0, 1 - 2**-24):  # the least and the greatest that torch.rand gives in single precision
        monkeypatch.setattr(torch, "rand", lambda shape, value=uniform, **_: torch.full(shape, value))
        assert (hard.categorical(weights).sum(0) > 0).tolist() == [False, uniform == 0, uniform > 0, False]


def _assert_frequencies(drawn: Tensor, p: Tensor) -> None:
    p, frequency = p.double(), drawn.double().mean(0)
    error = (p * (1 - p) / len(drawn)).sqrt()
    assert ((frequency - p).abs() <= 4.5 * error).all(), (frequency, p)


def test_samplers_follow_the_seed() -> None:
    p = torch.full((50,), 0.5)
    for sample in (hard.bernoulli, hard.categorical):
        first, second = (sample(p, generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(first, sample(p, generator=torch.Generator().manual_seed(8)))


@pytest.mark.parametrize("name", ["sign", "step", "round", "quantize", "binarize"])
def test_nan_stays_visible(name: str) -> None:
    y = HARD[name].function(torch.tensor([[1.0, math.nan, -2.0], [1.0, 0.0, -2.0]]))
    assert y[0, 1].isnan()
    assert not y[1].isnan().any()
    assert hard.bernoulli(torch.tensor([math.nan])).isnan().all()
    drawn = hard.categorical(torch.tensor([[1.0, math.nan], [0.0, 0.0], [1.0, 1.0]]))
    assert drawn.isnan().all(-1).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: hard.sign(x, margin=-1.0), r"sign: margin must be at least 0, got -1.0"),
        (lambda x: hard.quantize(x, 1), r"quantize: levels must be at least 2, got 1"),
        (lambda x: hard.quantize(x, 2, 1.0, 1.0), r"quantize: low must be below high, got low=1.0 and high=1.0"),
        (lambda x: hard.top_k(x, 5), r"top_k: k must be from 1 to 4, the size of dim -1, got 5"),
        (lambda x: hard.top_k_mask(x, 5), r"top_k_mask: k must be from 0 to 4, the size of dim -1, got 5"),
        (lambda x: hard.quantile(x, 1.5), r"quantile: q must be at least 0 and at most 1, got 1.5"),
        (lambda x: hard.median(x[:, :0]), r"median: x must have at least one entry along dim -1, got shape \(3, 0\)"),
        (lambda x: hard.kmeans(x, 4), r"kmeans: k must be from 1 to 3, the number of points, got 4"),
        (lambda x: hard.kmeans(x, 2, iterations=0), r"kmeans: iterations must be at least 1, got 0"),
        (lambda x: hard.kmeans(x[0], 1), r"kmeans: x must have shape \(\.\.\., points, features\), got \(4,\)"),
        (lambda x: hard.sort_rows_cols(x[0]), r"sort_rows_cols: x must have at least two dimensions, got shape \(4,\)"),
        (lambda x: hard.nearest_code(x, torch.zeros(2, 3)), r"codebook must have shape \(codes, 4\).* got \(2, 3\)"),
    ],
)
def test_mistakes_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(3, 4))
