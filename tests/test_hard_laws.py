"""What every hard function and sampler obeys, whatever the dtype, the size or the numbers.

Half is float32 rounded once, float32 is what exact arithmetic gives, and memory grows with input and output alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import vmap
from torch.utils._python_dispatch import TorchDispatchMode

from cases import HARD
from hardgrad import hard

HALVES = (torch.bfloat16, torch.float16)
INF, NAN = math.inf, math.nan
VALUES = torch.tensor([-300.0, -1.1, -0.3, 0.0, 1e-6, 0.2, 0.5, 0.7, 33.3])
CODES = torch.randn(40, 6, generator=torch.Generator().manual_seed(4))

# Every hard function that draws nothing, on the last dimensions of x.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": lambda x: hard.sign(x, margin=0.1),
    "sign, no margin": hard.sign,
    "sign, tiny margin": lambda x: hard.sign(x, margin=1e-42),
    "step": lambda x: hard.step(x, threshold=0.7),
    "step at a tensor": lambda x: hard.step(x, threshold=torch.tensor(0.7)),
    "sign, a tensor's margin": lambda x: hard.sign(x, margin=torch.tensor(0.1)),
    "quantize between tensors": lambda x: hard.quantize(x, 256, torch.tensor(-0.9), torch.tensor(1.3)),
    "quantize to values": lambda x: hard.quantize(x, VALUES),
    "round": hard.round,
    "quantize": lambda x: hard.quantize(x, 256, -0.9, 1.3),
    "quantize, fine and wide": lambda x: hard.quantize(x, 2**16, -500.0, 500.0),
    "binarize": hard.binarize,
    "one_hot_argmax": hard.one_hot_argmax,
    "top_k": lambda x: hard.top_k(x, 3),
    "top_k_mask": lambda x: hard.top_k_mask(x, 3),
    "quantile": lambda x: hard.quantile(x, 0.3),
    "median": hard.median,
    "sort": hard.sort,
    "rank": hard.rank,
    "permutation": hard.permutation,
    "sort_rows_cols": hard.sort_rows_cols,
    "kmeans": lambda x: hard.kmeans(x, 3),
    "nearest_code": lambda x: hard.nearest_code(x, CODES),
    "nearest_index": lambda x: hard.nearest_index(x, CODES),
}
ELEMENTWISE = list(FUNCTIONS)[:11]


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7), b.nan_to_num(7))


def every_half(dtype: torch.dtype) -> Tensor:
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def hostile(dtype: torch.dtype) -> Tensor:
    """Matrices (m, 7, 6): ties, offsets, constants, the ends of the range, subnormal numbers, infinities, NaN."""
    g = torch.Generator().manual_seed(1)
    x, ends = torch.randn(9, 7, 6, generator=g, dtype=torch.float64), torch.finfo(dtype)
    x[1] = x[1].mul(4).round() / 4
    x[2] += 100
    x[3] = 0.7
    x[4] *= ends.tiny / 8
    x[5] = torch.where(x[5] > 0, ends.max, ends.max * (0.25 + 0.5 * (x[5] < -1)))
    x[6, 2, 3] = INF
    x[7, 1, 1], x[7, 1, 4] = -INF, INF
    x[8, 3, 0] = NAN
    return x.to(dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_half_is_single_rounded_once(name: str, dtype: torch.dtype) -> None:
    f = FUNCTIONS[name]
    for x in (every_half(dtype),) if name in ELEMENTWISE else (hostile(dtype), torch.randn(2, 3, 40, 6).to(dtype)):
        y = f(x)
        assert same(y, f(x.float()).to(y.dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_is_double_rounded(name: str) -> None:
    x = hostile(torch.float32)
    if name.startswith(("sign", "step")):  # what they compare with is taken in x's dtype
        x = x[~((x - 0.7).abs() < 1e-6).any(-1).any(-1)]
    one, two = FUNCTIONS[name](x), FUNCTIONS[name](x.double())
    torch.testing.assert_close(one.double(), two.double(), rtol=2**-23, atol=2**-149, equal_nan=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layout_does_not_matter(name: str) -> None:
    x = torch.randn(2, 40, 6, 3).movedim(-1, 1)
    assert not x.is_contiguous()
    assert same(FUNCTIONS[name](x), FUNCTIONS[name](x.contiguous()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_edge_of_a_threshold(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    edges = (0.1, 0.7, 1.0, limits.tiny / 16, limits.tiny, limits.max / 4)
    for edge in edges:
        at = torch.tensor(edge, dtype=dtype)
        x = torch.stack([at.nextafter(torch.tensor(s * INF, dtype=dtype)) if s else at for s in (-1, 0, 1)])
        assert hard.step(x, threshold=edge).tolist() == [0, 1, 1]
        assert hard.sign(x, margin=edge).tolist() == [0, 0, 1]
        assert hard.sign(-x, margin=edge).tolist() == [0, 0, -1]
    ends = torch.tensor([-INF, -limits.max, 0.0, limits.max, INF], dtype=dtype)
    for edge in (-INF, -1e300, 1e300, INF):
        assert hard.step(ends, threshold=edge).tolist() == [float(v >= edge) for v in ends.tolist()]
        if edge > 0:
            assert hard.sign(ends, margin=edge).tolist() == [(v > edge) - (v < -edge) for v in ends.tolist()]


def nearest_level(v: float, levels: int, low: float, high: float) -> Fraction:
    """The definition in exact arithmetic; Python rounds halves of a fraction to the even integer."""
    least, most = Fraction(low), Fraction(high)
    step = (most - least) / (levels - 1)
    return least + step * round((min(max(Fraction(v), least), most) - least) / step)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(-3, 3, width=32) | st.integers(-96, 96).map(lambda i: i / 32), min_size=1, max_size=20),
    st.integers(2, 2000),
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-2, 2), (0.25, 1.0), (-3.0, -0.5), (-0.5, 0.0), (-1.0, 2.0)]),
    st.sampled_from([torch.float64, torch.float32, *HALVES]),
)
def test_quantize_in_exact_arithmetic(
    values: list[float], levels: int, bounds: tuple[float, float], dtype: torch.dtype
) -> None:
    x = torch.tensor(values).to(dtype)
    for v, y in zip(x.tolist(), hard.quantize(x, levels, *bounds), strict=True):
        step = Fraction(bounds[1] - bounds[0]) / (levels - 1)
        half = (Fraction(v) - Fraction(bounds[0])) / step % 1 - Fraction(1, 2)
        if half == 0 or abs(half) > Fraction(1, 10**9):  # next to half way, double precision cannot tell
            wanted = torch.tensor(float(nearest_level(v, levels, *bounds)), dtype=torch.float64)
            wanted = wanted if dtype == torch.float64 else wanted.float().to(dtype)
            torch.testing.assert_close(y, wanted, rtol=torch.finfo(y.dtype).eps, atol=1e-15)


def test_quantize_reaches_its_ends_and_zero() -> None:
    for levels, dtype in itertools.product((2, 3, 50, 255, 256), (torch.float64, torch.float32)):
        x = torch.tensor([-INF, -1e30, 0.0, 1e30, INF], dtype=dtype)
        y = hard.quantize(x, levels, -0.3, 0.3).tolist()
        assert y[0] == y[1] == torch.tensor(-0.3, dtype=dtype)
        assert y[3] == y[4] == torch.tensor(0.3, dtype=dtype)
        if levels % 2 and dtype == torch.float32:
            assert y[2] == 0
        assert hard.quantize(x, levels).tolist() == [0, 0, 0, 1, 1]


def over_the_mean(row: list[float]) -> list[float]:
    mean = sum(map(Fraction, row)) / len(row)
    return [float(Fraction(v) >= mean) for v in row]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
def test_binarize_in_exact_arithmetic(dtype: torch.dtype) -> None:
    g, limits = torch.Generator().manual_seed(2), torch.finfo(dtype)
    noise = torch.randn(60, 17, generator=g, dtype=torch.float64)
    rows = [noise, noise + 100, noise * 1e-3 + 1, noise.round() * 0.5, noise * limits.tiny / 4]
    rows += [(noise > 0).double().add(1) * (limits.max / 2), (noise > 1).double().sub(0.5) * 2 * limits.max]
    rows += [noise.round() * 0.7] if dtype != torch.float64 else []  # there the sum is rounded, and may miss a tie
    x = torch.cat(rows).to(dtype)
    assert hard.binarize(x).tolist() == [over_the_mean(row) for row in x.double().tolist()]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
def test_equal_entries_are_at_their_mean(dtype: torch.dtype) -> None:
    numbers = torch.tensor([0.1, 0.7, 1 / 3, -123.456, 1e-3, torch.finfo(dtype).max, torch.finfo(dtype).tiny]).to(dtype)
    for n in (1, 2, 3, 5, 7, 11, 49, 119, 1000, 3333):
        assert (hard.binarize(numbers.unsqueeze(-1).expand(-1, n)) == 1).all()
    assert (hard.binarize(numbers[:1].expand(1_000_001)) == 1).all()


def test_binarize_of_infinities() -> None:
    for dtype in (torch.float64, torch.float32, *HALVES):
        rows = torch.tensor([[1.0, INF, 2.0], [-INF, 1.0, -2.0], [INF, -INF, 0.0], [1.0, NAN, 0.0]], dtype=dtype)
        wanted = torch.tensor([[0.0, 1, 0], [1, 1, 1], [NAN] * 3, [NAN] * 3], dtype=dtype)
        assert same(hard.binarize(rows), wanted)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_ranks_beyond_the_digits_of_half_are_rounded(dtype: torch.dtype) -> None:
    ranks = hard.rank(torch.zeros(70_000, dtype=dtype))  # equal: in the order they stand
    assert torch.equal(ranks, torch.arange(70_000).float().to(dtype))


def test_the_first_of_equals() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, 1.0, -0.0])
    assert hard.one_hot_argmax(x).tolist() == [0, 0, 1, 0, 0]
    assert hard.one_hot_argmax(x[:2]).tolist() == [1, 0]
    assert hard.rank(x).tolist() == [0, 1, 3, 4, 2]
    assert hard.permutation(x).argmax(-1).tolist() == [0, 1, 4, 2, 3]
    assert [hard.top_k_mask(x, k).nonzero().flatten().tolist() for k in (1, 3)] == [[2], [0, 2, 3]]
    many = torch.zeros(2, 3000)  # a sort that is not stable shows in so many
    assert torch.equal(hard.top_k_mask(many, 7), (torch.arange(3000) < 7).float().expand(2, -1))
    codes = torch.tensor([[2.0], [0.0], [2.0], [0.0]], requires_grad=True)
    hard.nearest_code(torch.tensor([[1.0], [0.5], [3.0]]), codes).sum().backward()
    assert codes.grad is not None
    assert codes.grad.flatten().tolist() == [2, 1, 0, 0]


def exact_nearest(x: Tensor, codes: Tensor) -> list[int]:
    """The first of the nearest codes, in integers: x and codes hold small ones."""
    a, b = x.double().numpy().astype(np.int64), codes.double().numpy().astype(np.int64)
    return [int(((row - b) ** 2).sum(-1).argmin()) for row in a]


@pytest.mark.parametrize("offset", [0, 2**20, 2**29])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_nearest_code_in_exact_arithmetic(dtype: torch.dtype, offset: int) -> None:
    """Many ties and many equal codes, through the product and through differences alone, near zero and far from it."""
    g = torch.Generator().manual_seed(3)
    for n, k, d in ((700, 300, 3), (300, 128, 9), (20, 7, 2), (50, 1, 3)):
        grid = 64 if dtype == torch.float32 and offset == 2**29 else 1  # what float32 can hold there
        x, codes = (torch.randint(-3, 4, (m, d), generator=g) * grid + offset for m in (n, k))
        wanted = codes[exact_nearest(x, codes)].to(dtype)
        for out in (hard.nearest_code, vmap(hard.nearest_code, in_dims=(0, None))):
            assert torch.equal(out(x.to(dtype).reshape(-1, 10, d), codes.to(dtype)).reshape(n, d), wanted)
        index = codes.to(dtype).clone().requires_grad_()
        hard.nearest_code(x.to(dtype), index).sum().backward()
        counts = np.bincount(exact_nearest(x, codes), minlength=k)
        assert index.grad is not None
        assert index.grad[:, 0].tolist() == counts.tolist()


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310])
def test_nearest_code_and_kmeans_at_the_ends_of_the_range(scale: float) -> None:
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.5], [-1.0, -1.0]], dtype=torch.float64) * scale
    x = torch.tensor([[0.9, 0.2], [0.2, 0.9], [-3.0, 0.0]], dtype=torch.float64) * scale
    assert torch.equal(hard.nearest_code(x, codes), codes)
    points = torch.tensor([[0.0], [2.0], [9.0], [11.0]], dtype=torch.float64) * scale
    torch.testing.assert_close(hard.kmeans(points, 2) / scale, torch.tensor([[1.0], [1], [10], [10]]).double())


def test_nearest_code_of_infinity_and_nan() -> None:
    codes = torch.tensor([[5.0, 0.0], [NAN, 1.0], [1.0, 1.0], [INF, 0.0]])
    x = torch.tensor([[1.0, 1.0], [NAN, 1.0], [INF, 0.0], [4.0, -1.0]])
    y = hard.nearest_code(x, codes)
    assert same(y, torch.stack([codes[2], torch.full((2,), NAN), codes[0], codes[0]]))
    assert same(hard.nearest_code(x.repeat(9000, 1), codes), y.repeat(9000, 1))  # by the product


def plain_kmeans(points: list[tuple[Fraction, ...]], k: int, iterations: int) -> list[tuple[Fraction, ...]]:
    """The definition, one point after the other; data without ties and empty clusters."""

    def gap(a: tuple[Fraction, ...], b: tuple[Fraction, ...]) -> Fraction:
        return sum(((s - t) ** 2 for s, t in zip(a, b, strict=True)), Fraction(0))

    def mean(some: list[tuple[Fraction, ...]]) -> tuple[Fraction, ...]:
        return tuple(sum(c, Fraction(0)) / len(some) for c in zip(*some, strict=True))

    middle = mean(points)
    centers = [max(points, key=lambda p: gap(p, middle))]
    while len(centers) < k:
        centers.append(max(points, key=lambda p: min(gap(p, c) for c in centers)))
    for _ in range(iterations):
        near = [min(range(k), key=lambda c: gap(p, centers[c])) for p in points]
        centers = [mean([p for p, i in zip(points, near, strict=True) if i == c]) for c in range(k)]
    return [min(centers, key=lambda c: gap(p, c)) for p in points]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
def test_kmeans_in_exact_arithmetic(dtype: torch.dtype) -> None:
    x = (torch.randn(24, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 10).to(dtype)
    exact = plain_kmeans([tuple(map(Fraction, row)) for row in x.double().tolist()], 4, 3)
    wanted = torch.tensor([[float(v) for v in row] for row in exact], dtype=torch.float64)
    wanted = wanted if dtype == torch.float64 else wanted.float().to(dtype)
    torch.testing.assert_close(hard.kmeans(x, 4, iterations=3), wanted, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_order_of_points_does_not_matter_to_kmeans(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(6)
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    sets = [corners, corners.repeat(2, 1), torch.randn(30, 2, generator=g), torch.randint(0, 3, (40, 5), generator=g)]
    for points, k in itertools.product(sets, (1, 2, 3, 5, 8)):
        x = points.to(dtype)
        y = hard.kmeans(x, k)
        for _ in range(5):
            shuffle = torch.randperm(len(x), generator=g)
            assert torch.equal(hard.kmeans(x[shuffle], k), y[shuffle])


def test_kmeans_of_equal_points_is_themselves_and_of_infinite_ones_nan() -> None:
    for dtype in (torch.float64, torch.float32):
        x = torch.tensor([0.1] * 7 + [0.3] * 11 + [0.7] * 5, dtype=dtype).unsqueeze(-1)
        assert torch.equal(hard.kmeans(x, 3), x)
        assert torch.equal(hard.kmeans(x, 10), x)
    sets = torch.randn(3, 6, 2)
    sets[1, 3, 0], sets[2, 0, 1] = NAN, INF
    assert hard.kmeans(sets, 2).isnan().flatten(1).all(1).tolist() == [False, True, True]
    assert same(hard.kmeans(sets, 2)[0], hard.kmeans(sets[0], 2))


class Largest(TorchDispatchMode):
    """The most bytes that one tensor takes."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor):
                self.bytes = max(self.bytes, t.untyped_storage().nbytes())
        return out


LARGE: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    **{name: (f, (torch.randn(300, 40, 6),)) for name, f in FUNCTIONS.items()},
    "binarize": (hard.binarize, (torch.randn(300, 400),)),
    "bernoulli": (hard.bernoulli, (torch.rand(300, 400),)),
    "categorical": (hard.categorical, (torch.rand(300, 400),)),
    "categorical of many": (hard.categorical, (torch.rand(3, 40_000),)),
    "kmeans": (lambda x: hard.kmeans(x, 64, iterations=2), (torch.randn(4096, 16),)),
    "kmeans of flat points": (lambda x: hard.kmeans(x, 200, iterations=1), (torch.randn(8192, 2),)),
    "nearest_code": (hard.nearest_code, (torch.randn(4096, 32), torch.randn(512, 32))),
    "nearest_code of few": (hard.nearest_code, (torch.randn(4, 32), torch.randn(9000, 32))),
    "nearest_code of equals": (hard.nearest_code, (torch.zeros(4096, 32), torch.ones(512, 32))),
    "nearest_code, batched": (vmap(hard.nearest_code), (torch.randn(2, 2048, 32), torch.randn(2, 512, 32))),
}


@pytest.mark.parametrize("name", LARGE)
def test_memory_is_a_small_multiple_of_input_and_output(name: str) -> None:
    f, inputs = LARGE[name]
    with Largest() as mode:
        out = f(*inputs)
    whole = sum(t.numel() * t.element_size() for t in (*inputs, out))
    assert mode.bytes <= 4 * whole + 2**19, f"{mode.bytes / whole:.1f} times input and output"


def test_distances_in_steps_are_those_at_once() -> None:
    """In a graph, under vmap and in an exported one of any batch, with more codes than go into one step."""
    x, codes = torch.randn(9, 5, 3), torch.randn(70, 3)
    wanted = torch.stack([torch.stack([min(codes, key=lambda c: (v.double() - c).norm()) for v in row]) for row in x])

    class Codes(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return hard.nearest_code(x, codes)

    batch = torch.export.Dim("batch", min=2, max=99)
    program = torch.export.export(Codes(), (x[:4],), dynamic_shapes=({0: batch},))
    torch.compiler.reset()
    compiled = torch.compile(Codes(), fullgraph=True, backend="aot_eager", dynamic=True)
    for f in (Codes(), vmap(Codes()), program.module(), compiled):
        assert torch.equal(f(x), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(hard.nearest_code(x, codes), wanted)
        assert torch.equal(hard.kmeans(x, 2), torch.stack([hard.kmeans(row, 2) for row in x]))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert hard.nearest_code(mode.from_tensor(torch.randn(4000, 3)), codes).shape == (4000, 3)
        assert hard.bernoulli(mode.from_tensor(torch.rand(5))).shape == (5,)
        assert hard.categorical(mode.from_tensor(torch.rand(5))).shape == (5,)


@pytest.mark.parametrize("name", HARD)
def test_vmap_is_a_loop(name: str) -> None:
    """Of one level and of two, and without an operator that torch would have to take apart (it warns of that)."""
    f = HARD[name].function
    for dtype, randomness in itertools.product((torch.float32, torch.float64), ("same", "different")):
        x = torch.randn(2, 3, *HARD[name].sample, dtype=dtype)
        once = vmap(f, randomness=randomness)
        assert torch.equal(once(x), f(x))
        assert torch.equal(vmap(once, randomness=randomness)(x), f(x))
        assert torch.equal(vmap(lambda _, x=x: f(x), randomness=randomness)(torch.zeros(2))[1], f(x))


def test_nothing_in_nothing_out() -> None:
    for shape in ((0, 6), (2, 0, 6)):
        for name, f in FUNCTIONS.items():
            if name not in ("kmeans", "sort_rows_cols"):
                assert f(torch.zeros(shape)).numel() == 0, name
    empty = torch.zeros(3, 0)
    for f in (hard.sign, hard.step, hard.round, hard.binarize, hard.one_hot_argmax, hard.sort, hard.rank):
        assert f(empty).shape == (3, 0)
    assert hard.quantize(empty, 4).shape == hard.bernoulli(empty).shape == hard.categorical(empty).shape == (3, 0)
    assert hard.permutation(empty).shape == (3, 0, 0)
    assert hard.kmeans(torch.zeros(0, 5, 2), 3).shape == (0, 5, 2)
    assert hard.kmeans(torch.zeros(2, 5, 0), 3).shape == (2, 5, 0)
    assert hard.nearest_code(torch.zeros(2, 0), torch.zeros(4, 0)).shape == (2, 0)


def test_a_number_is_a_vector_of_one() -> None:
    x = torch.tensor(0.3)
    assert [f(x).item() for f in (hard.binarize, hard.one_hot_argmax, hard.rank)] == [1, 1, 0]
    assert torch.equal(hard.sort(x), x)
    assert hard.top_k(x, 1) == x
    assert [hard.top_k_mask(x, k).item() for k in (0, 1)] == [0, 1]
    assert hard.quantile(x, 0.2) == hard.median(x) == x
    assert [hard.sign(x).item(), hard.step(x, 0.3).item(), hard.quantize(x, 3).item()] == [1, 1, 0.5]


def exact_quantile(row: list[float], q: float) -> Fraction:
    """The definition in exact arithmetic."""
    s, p = sorted(map(Fraction, row)), Fraction(q) * (len(row) - 1)
    return s[math.floor(p)] * (1 - p % 1) + s[math.ceil(p)] * (p % 1)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(-1e4, 1e4, width=16) | st.integers(-4, 4).map(float), min_size=1, max_size=20),
    st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([torch.float64, torch.float32, *HALVES]),
)
def test_quantiles_in_exact_arithmetic(values: list[float], q: float, dtype: torch.dtype) -> None:
    x = torch.tensor(values).to(dtype)
    for y, p in ((hard.quantile(x, q), q), (hard.median(x), 0.5)):
        wanted = torch.tensor(float(exact_quantile(x.tolist(), p)), dtype=torch.float64)
        # In double precision, what the place of the quantile loses is that share of what lies between two values.
        wanted = wanted if dtype == torch.float64 else wanted.float().to(dtype)
        torch.testing.assert_close(y, wanted, rtol=torch.finfo(dtype).eps, atol=1e-10)
    torch.testing.assert_close(hard.quantile(x.double(), q), torch.quantile(x.double(), q))


def test_quantiles_beside_infinity_and_nan() -> None:
    """Where both ends are infinite there is no number between; NaN is the largest value, as for the others."""
    for dtype in (torch.float64, torch.float32, *HALVES):
        rows = [[1.0, INF], [-INF, 1.0], [INF, INF], [-INF, INF], [NAN, 2.0], [3.0, 3.0]]
        x = torch.tensor(rows, dtype=dtype)
        assert same(hard.median(x), torch.tensor([INF, -INF, INF, NAN, NAN, 3.0], dtype=dtype))
        assert same(hard.quantile(x, 0), torch.tensor([1, -INF, INF, -INF, 2, 3], dtype=dtype))
        assert hard.median(torch.tensor([NAN, 5.0, 1.0], dtype=dtype)) == 5
        assert hard.top_k_mask(torch.tensor([[1.0, NAN, INF]], dtype=dtype), 1).tolist() == [[0, 1, 0]]


def test_a_quantile_has_the_gradient_of_the_values_it_lies_between() -> None:
    x = torch.tensor([4.0, 1.0, 3.0, 9.0], requires_grad=True)
    hard.quantile(x, 0.75).backward()  # a quarter of the way from 4 to 9
    assert x.grad is not None
    assert x.grad.tolist() == [0.75, 0, 0, 0.25]


def test_step_at_a_tensor() -> None:
    x, at = torch.randn(5, 3), torch.tensor([-0.2, NAN, 0.4])
    wanted = [[NAN if t != t else float(v >= t) for v, t in zip(row, at.tolist(), strict=True)] for row in x.tolist()]
    assert same(hard.step(x, at), torch.tensor(wanted))
