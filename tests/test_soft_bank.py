"""Every soft operator with every method, held to what the papers define, written here a second time and slowly.

The bank's rows are six values in random order, ties, values 1e-3 apart, two values, one value. In float64 unless said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad.soft.methods import METHODS as METHODS_BY_NAME

ROWS = {
    "random": [0.3, -1.2, 2.1, 0.9, -0.4, 1.6],
    "ties": [1.0, 0.0, 1.0, 0.0, 2.0, 1.0],
    "near ties": [0.5, 0.501, -0.2, 0.499, -0.201, 1.7],
    "two": [0.4, -0.3],
    "one": [0.7],
}
METHODS: dict[str, Any] = {
    "laplace": "laplace",
    "softsort": "softsort",
    "neuralsort": "neuralsort",
    "permutahedron": "permutahedron",
    "bitonic": "network",
    "odd-even": hg.soft.Network("odd-even"),
}
MATRICES = [name for name in METHODS if name != "permutahedron"]
OPERATORS: dict[str, Callable[..., Tensor]] = {
    "sort": hg.soft.sort,
    "rank": hg.soft.rank,
    "top_k": lambda x, *options, **named: hg.soft.top_k(x, k_of(x), *options, **named),
    "top_k_mask": lambda x, *options, **named: hg.soft.top_k_mask(x, k_of(x), *options, **named),
    "quantile": lambda x, *options, **named: hg.soft.quantile(x, 0.3, *options, **named),
    "median": hg.soft.median,
    "argmax": hg.soft.argmax,
    "permutation": hg.soft.permutation,
}
VALUES = ("sort", "top_k", "quantile", "median")
PAIRS = [(m, o) for m in METHODS for o in OPERATORS if (m, o) != ("permutahedron", "permutation")]
every_pair = pytest.mark.parametrize(("method", "operator"), PAIRS)
# The three that a method computes; the others are parts and sums of them.
every_basic_pair = pytest.mark.parametrize(
    ("method", "operator"), [p for p in PAIRS if p[1] in ("sort", "rank", "top_k_mask")]
)
every_method = pytest.mark.parametrize("method", METHODS)
every_matrix = pytest.mark.parametrize("method", MATRICES)


def k_of(x: Tensor) -> int:
    return min(2, x.shape[-1]) if x.ndim else 1


def row(name: str, **options: Any) -> Tensor:
    return torch.tensor(ROWS[name], dtype=torch.float64, **options)


def batch(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def called(method: str, operator: str, x: Tensor, temperature: Any = 0.7, **options: Any) -> Tensor:
    return OPERATORS[operator](x, temperature, method=METHODS[method], **options)


# ---------------------------------------------------------------------------------------------- the definitions


def laplace_cdf(u: float) -> float:
    return math.exp(u) / 2 if u < 0 else 1 - math.exp(-u) / 2


def laplace_boundaries(x: list[float], t: float) -> list[float]:
    """b_i with the sum over j of F((b_i - x_j) / t) equal to i, by bisection."""
    found = [-math.inf]
    for i in range(1, len(x)):
        low, high = min(x) - 50 * t, max(x) + 50 * t
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(laplace_cdf((middle - v) / t) for v in x) < i else (low, middle)
        found.append(low)
    return [*found, math.inf]


def laplace_matrix(x: list[float], t: float) -> Tensor:
    b = laplace_boundaries(x, t)
    cdf = [[0.0 if c == -math.inf else 1.0 if c == math.inf else laplace_cdf((c - v) / t) for v in x] for c in b]
    return torch.tensor(cdf, dtype=torch.float64).diff(dim=0)


def softsort_matrix(x: list[float], t: float) -> Tensor:
    weights = [[math.exp(-abs(s - v) / t) for v in x] for s in sorted(x)]
    return torch.tensor([[w / sum(line) for w in line] for line in weights], dtype=torch.float64)


def neuralsort_matrix(x: list[float], t: float) -> Tensor:
    """Equation 5 of the paper, whose row 1 is the largest; turned over."""
    n = len(x)
    sums = [sum(abs(v - w) for w in x) for v in x]
    lines = [[((n + 1 - 2 * i) * v - s) / t for v, s in zip(x, sums, strict=True)] for i in range(1, n + 1)]
    return torch.tensor(lines, dtype=torch.float64).softmax(-1).flip(0)


def odd_even_pairs(n: int) -> list[tuple[int, int]]:
    return [(a, a + 1) for layer in range(n) for a in range(layer % 2, n - 1, 2)]


def bitonic_pairs(n: int) -> list[tuple[int, int]]:
    """The textbook's recursion for a power of two; comparators with a wire that is not there are dropped."""

    def clean(start: int, size: int) -> list[tuple[int, int]]:
        half = size // 2
        if not half:
            return []
        here = [(start + a, start + half + a) for a in range(half)]
        return here + clean(start, half) + clean(start + half, half)

    def ordered(start: int, size: int) -> list[tuple[int, int]]:
        half = size // 2
        if not half:
            return []
        mirror = [(start + a, start + size - 1 - a) for a in range(half)]
        halves = ordered(start, half) + ordered(start + half, half)
        return halves + mirror + clean(start, half) + clean(start + half, half)

    return [(a, b) for a, b in ordered(0, 1 << math.ceil(math.log2(n))) if b < n]


def network_matrix(x: list[float], t: float, pairs: list[tuple[int, int]]) -> Tensor:
    """One comparator after the other, on the values and on the rows of the matrix."""
    values, matrix = list(x), torch.eye(len(x), dtype=torch.float64)
    for a, b in pairs:
        stay = 0.5 + math.atan((values[b] - values[a]) / t) / math.pi
        values[a], values[b] = (
            stay * values[a] + (1 - stay) * values[b],
            stay * values[b] + (1 - stay) * values[a],
        )
        matrix[[a, b]] = torch.stack(
            [stay * matrix[a] + (1 - stay) * matrix[b], stay * matrix[b] + (1 - stay) * matrix[a]]
        )
    return matrix


def matrix_of(method: str, x: list[float], t: float) -> Tensor:
    if method in ("odd-even", "bitonic"):
        return network_matrix(x, t, odd_even_pairs(len(x)) if method == "odd-even" else bitonic_pairs(len(x)))
    makers = {"laplace": laplace_matrix, "softsort": softsort_matrix, "neuralsort": neuralsort_matrix}
    return makers[method](x, t)


def unit_of(x: Tensor) -> float:
    """g: n values at distance g from each other have x's variance."""
    n = len(x)
    return math.sqrt(12 * float(((x - x.mean()) ** 2).mean()) / (n * n - 1)) if n > 1 else 0.0


def isotonic(u: list[float]) -> list[float]:
    """max over a <= i of the min over b >= i of the mean of u from a to b."""
    n = len(u)
    mean = [[sum(u[a : b + 1]) / (b - a + 1) if a <= b else math.nan for b in range(n)] for a in range(n)]
    return [max(min(mean[a][i:]) for a in range(i + 1)) for i in range(n)]


def projected(z: list[float], w: list[float]) -> Tensor:
    """The nearest point to z of all mixtures of the orders of w."""
    order = sorted(range(len(z)), key=lambda i: z[i])
    v = isotonic([z[i] - c for i, c in zip(order, sorted(w), strict=True)])
    result = torch.zeros(len(z), dtype=torch.float64)
    for i, c in zip(order, v, strict=True):
        result[i] = z[i] - c
    return result


def defined(method: str, operator: str, x: Tensor, t: float) -> Tensor:
    """What an operator should give, ascending, at an absolute temperature."""
    n, values = len(x), x.tolist()
    k = 1 if operator == "argmax" else min(2, n)
    if method == "permutahedron":
        rank = projected([v / t for v in values], list(range(n)))
        mask = projected([v / t for v in values], [0.0] * (n - k) + [1.0] * k)
        ordered = projected([i * unit_of(x) ** 2 / t for i in range(n)], values)
    else:
        matrix = matrix_of(method, values, t)
        ordered, mask = matrix @ x, matrix[n - k :].sum(0)
        places = torch.arange(n, dtype=torch.float64)
        rank = places @ matrix / matrix.sum(0)
        if method == "laplace":
            rank = torch.tensor([sum(laplace_cdf((v - w) / t) for w in values) - 0.5 for v in values], dtype=x.dtype)
        if operator == "permutation":
            return matrix
    q = {"quantile": 0.3, "median": 0.5}.get(operator, 0.0) * (n - 1)
    low, high = math.floor(q), math.ceil(q)
    return {
        "sort": ordered,
        "rank": rank,
        "top_k": ordered.flip(0)[:k],
        "top_k_mask": mask,
        "argmax": mask,
        "quantile": ordered[low] + (q - low) * (ordered[high] - ordered[low]),
        "median": ordered[low] + (q - low) * (ordered[high] - ordered[low]),
    }[operator]


@every_pair
def test_an_operator_is_its_definition(method: str, operator: str) -> None:
    for name, t in itertools.product(ROWS, (0.05, 0.7, 5.0)):
        got, wanted = called(method, operator, row(name), t, relative=False), defined(method, operator, row(name), t)
        assert torch.allclose(got, wanted, rtol=1e-9, atol=1e-9), (name, t, got, wanted)


@pytest.mark.parametrize(("method", "operator"), [pair for pair in PAIRS if pair[0] not in ("odd-even", "bitonic")])
def test_descending_is_the_order_of_the_negative(method: str, operator: str) -> None:
    """Of a network's too, but for the wires that the values come in on."""
    for name in ("random", "ties"):
        x = row(name)
        wanted = defined(method, operator, -x, 0.7) * (-1 if operator in VALUES else 1)
        got = called(method, operator, x, 0.7, relative=False, descending=True)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("descending", [False, True])
@every_matrix
def test_the_matrix_sorts(method: str, descending: bool) -> None:
    x = batch(3, 6)
    options = {"method": METHODS[method], "descending": descending}
    matrix = hg.soft.permutation(x, 0.7, **options)
    torch.testing.assert_close((matrix @ x.unsqueeze(-1)).squeeze(-1), hg.soft.sort(x, 0.7, **options))


@pytest.mark.parametrize("t", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("name", ["random", "ties", "near ties"])
def test_the_projection_is_nearest_of_all_orders(name: str, t: float) -> None:
    """No order v of w lies on the far side of y: (z - y)(v - y) <= 0 for each, and y is a mixture of them."""
    x = row(name)[:5]
    for operator, w, z in (
        ("rank", torch.arange(5.0).double(), x / t),
        ("top_k_mask", torch.tensor([0.0, 0, 0, 1, 1]).double(), x / t),
        ("sort", x, torch.arange(5).double() * unit_of(x) ** 2 / t),
    ):
        y = called("permutahedron", operator, x, t, relative=False)
        orders = torch.tensor(list(itertools.permutations(w.tolist())), dtype=torch.float64)
        assert float(((orders - y) @ (z - y)).max()) < 1e-9, operator
        partial_sums = y.sort(descending=True).values.cumsum(0) - w.sort(descending=True).values.cumsum(0)
        assert float(partial_sums.max()) < 1e-9, operator
        assert abs(float(partial_sums[-1])) < 1e-9, operator


# ---------------------------------------------------------------------------------------------- both ends


HARD: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": hg.hard.sort,
    "rank": hg.hard.rank,
    "top_k": lambda x: hg.hard.top_k(x, k_of(x)),
    "top_k_mask": lambda x: hg.hard.top_k_mask(x, k_of(x)),
    "quantile": lambda x: hg.hard.quantile(x, 0.3),
    "median": hg.hard.median,
    "argmax": hg.hard.one_hot_argmax,
    "permutation": hg.hard.permutation,
}


@every_pair
def test_temperature_zero_is_the_hard_function(method: str, operator: str) -> None:
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    for name, dtype in itertools.product(("random", "ties", "one"), dtypes):
        x = row(name).to(dtype)
        assert torch.equal(called(method, operator, x, 0.0), HARD[operator](x)), (name, dtype)


@every_pair
def test_a_small_temperature_is_nearly_hard(method: str, operator: str) -> None:
    for x in (row("random"), batch(3, 9)):
        # A network's tails are 1 / distance, and its errors travel through its layers.
        error = called(method, operator, x, 1e-8) - HARD[operator](x)
        assert float(error.abs().max()) < (1e-4 if "network" in str(METHODS[method]).lower() else 1e-12)


@pytest.mark.parametrize(("method", "operator"), [pair for pair in PAIRS if pair[0] != "odd-even"])
def test_a_large_temperature_is_no_order_at_all(method: str, operator: str) -> None:
    """Everything is the mean: of values, places, matrices. Of four values: a bitonic network mixes powers of two."""
    x = row("random")[:4]
    n, k = 4, 1 if operator == "argmax" else 2
    flat = {"rank": (n - 1) / 2, "top_k_mask": k / n, "argmax": k / n, "permutation": 1 / n}
    got = called(method, operator, x, 1e9)
    torch.testing.assert_close(got, torch.full_like(got, flat.get(operator, float(x.mean()))), rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------- what must hold


@every_matrix
def test_matrices_are_stochastic(method: str) -> None:
    for x in (*map(row, ROWS), batch(4, 7), 100 * batch(2, 5)):
        for t in (0.01, 1.0, 100.0):
            matrix = called(method, "permutation", x, t)
            assert float(matrix.min()) >= -1e-12
            assert float((matrix.sum(-1) - 1).abs().max()) < 1e-9
            if method not in ("softsort", "neuralsort"):
                assert float((matrix.sum(-2) - 1).abs().max()) < 1e-9


@every_method
def test_masks_sum_to_k(method: str) -> None:
    for x in (batch(4, 7), batch(4, 7).round(), 100 * batch(4, 7)):
        for k, t in itertools.product((1, 3, 6, 7), (0.01, 1.0, 100.0)):
            mask = hg.soft.top_k_mask(x, k, t, method=METHODS[method])
            assert float((mask.sum(-1) - k).abs().max()) < 1e-9
            assert float(mask.min()) >= -1e-12
            if method not in ("softsort", "neuralsort"):
                assert float(mask.max()) <= 1 + 1e-12


@pytest.mark.parametrize("method", ["laplace", "softsort", "neuralsort", "permutahedron"])
def test_soft_sorts_ascend(method: str) -> None:
    """A network's values may leave a little out of order: it sorts by each comparator, not in the end."""
    for t in (0.1, 1.0, 10.0):
        y = called(method, "sort", batch(5, 8), t)
        assert float(y.diff(dim=-1).min()) > -1e-9


@pytest.mark.parametrize("method", ["laplace", "softsort", "neuralsort", "permutahedron"])
def test_soft_ranks_keep_the_order(method: str) -> None:
    """A network's need not: its wires differ."""
    x = batch(5, 8).sort(-1).values
    for t in (0.1, 1.0, 10.0):
        assert float(called(method, "rank", x, t).diff(dim=-1).min()) > -1e-9


@pytest.mark.parametrize("method", ["bitonic", "odd-even"])
def test_no_sorted_value_falls_when_an_input_rises(method: str) -> None:
    """The reason for Cauchy's distribution: with a logistic one a network's may."""
    for t in (0.1, 1.0):
        slopes = torch.autograd.functional.jacobian(
            lambda x, t=t: called(method, "sort", x, t, relative=False), batch(7)
        )
        assert float(slopes.min()) > -1e-9


def test_a_logistic_network_would_fall() -> None:
    """So the test above can fail: the same comparators with another distribution."""

    def logistic(x: Tensor) -> Tensor:
        for a, b in odd_even_pairs(2):
            stay = torch.sigmoid(x[b] - x[a])
            x = torch.stack([stay * x[a] + (1 - stay) * x[b], stay * x[b] + (1 - stay) * x[a]])
        return x

    assert float(torch.autograd.functional.jacobian(logistic, torch.tensor([0.0, 3.0])).min()) < -0.05


@every_pair
def test_shift_and_scale_change_nothing_when_relative(method: str, operator: str) -> None:
    for x in (row("random"), row("ties"), batch(3, 5)):
        plain = called(method, operator, x)
        for scale in (1e-4, 1e4):
            moved = called(method, operator, scale * (x + 3))
            wanted = scale * (plain + 3) if operator in VALUES else plain
            torch.testing.assert_close(
                moved, wanted, rtol=1e-8, atol=1e-8 * max(scale if operator in VALUES else 1, 1e-9)
            )


@pytest.mark.parametrize("n", [2, 5, 64])
@every_method
def test_relative_is_the_distance_of_neighbors(method: str, n: int) -> None:
    """Evenly spaced rows have a unit of their spacing, whatever n: relative or not is the same at distance 1."""
    x = torch.arange(float(n)).double()
    torch.testing.assert_close(called(method, "rank", x), called(method, "rank", x, relative=False))


@pytest.mark.parametrize("method", ["laplace", "softsort", "neuralsort", "permutahedron"])
def test_the_order_of_the_input_does_not_matter(method: str) -> None:
    """A network's result depends on it a little."""
    x, order = row("near ties"), torch.tensor([3, 0, 5, 1, 4, 2])
    for operator in OPERATORS:
        if (method, operator) != ("permutahedron", "permutation"):
            plain, mixed = called(method, operator, x), called(method, operator, x[order])
            by_entry = operator in ("rank", "top_k_mask", "argmax", "permutation")
            torch.testing.assert_close(mixed, plain[..., order] if by_entry else plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["laplace", "permutahedron"])
def test_values_far_from_zero_lose_nothing(method: str) -> None:
    """Around 1, float32 has steps of 1e-4 temperatures; nothing but those may be lost."""
    x = (1 + 1e-3 * batch(2, 6)).float()
    for operator in ("rank", "top_k_mask"):
        got = called(method, operator, x, 5e-4, relative=False)
        wanted = called(method, operator, x.double(), 5e-4, relative=False)
        torch.testing.assert_close(got.double(), wanted, rtol=0, atol=1e-6)


@every_method
def test_a_comparison_is_the_difference_of_two_ranks(method: str) -> None:
    """Also where a method has a formula of its own, ties and their slopes included."""
    pairs = torch.tensor([[0.0, 0.3], [0.2, -0.9], [0.5, 0.5], [1.0, 9.0]], dtype=torch.float64, requires_grad=True)
    by = METHODS_BY_NAME["network" if method == "bitonic" else method] if method != "odd-even" else METHODS[method]
    t = torch.tensor([0.7], dtype=torch.float64)
    ranks = called(method, "rank", pairs, 0.7, relative=False)
    wanted, got = ranks[:, 1] - ranks[:, 0], by.compare(pairs[:, 0], pairs[:, 1], t)
    torch.testing.assert_close(got, wanted)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    slopes = [torch.autograd.grad(y @ weights, pairs)[0] for y in (got, wanted)]
    torch.testing.assert_close(slopes[0], slopes[1])


# ---------------------------------------------------------------------------------------------- gradients


def weighed(method: str, operator: str, x: Tensor, t: Tensor, **options: Any) -> Tensor:
    """A scalar that no symmetry flattens."""
    y = called(method, operator, x, t, **options)
    return (y * torch.arange(1.0, 1 + y.numel(), dtype=y.dtype).view_as(y).sin()).sum()


@every_pair
def test_gradients_are_finite_differences(method: str, operator: str) -> None:
    """Of x and of the temperature; the smooth methods at ties too, the others at values 1e-3 apart."""
    smooth = method in ("laplace", "bitonic", "odd-even")
    t = torch.tensor(0.63, dtype=torch.float64, requires_grad=True)  # no distance is that, where the projection bends
    for name, relative in [
        ("random", True),
        ("near ties", False),
        *([("ties", True), ("ties", False)] if smooth else []),
    ]:
        x = row(name, requires_grad=True)
        assert torch.autograd.gradcheck(partial(weighed, method, operator, relative=relative), (x, t), fast_mode=True)


@every_basic_pair
def test_second_gradients_are_finite_differences(method: str, operator: str) -> None:
    x, t = row("random", requires_grad=True), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(partial(weighed, method, operator), (x, t), fast_mode=True)


@every_pair
def test_gradients_at_ties_lie_between_those_beside_them(method: str, operator: str) -> None:
    """A kink has many slopes; what is given is an average of those that ways of breaking the ties lead to."""
    x = torch.tensor([1.0, 0.0, 1.0, 2.5], dtype=torch.float64)

    def slope(at: Tensor) -> Tensor:
        at = at.clone().requires_grad_()
        y = called(method, operator, at, 0.4, relative=False)
        return torch.autograd.grad((y * torch.arange(1.0, 1 + y.numel()).view_as(y).sin()).sum(), at)[0]

    here = slope(x)
    beside = torch.stack([slope(x + 1e-7 * torch.tensor([s, 0, -s, 0])) for s in (1.0, -1.0)])
    assert bool((here <= beside.amax(0) + 1e-5).all()), (here, beside)
    assert bool((here >= beside.amin(0) - 1e-5).all()), (here, beside)


@every_pair
def test_half_is_single_rounded_once(method: str, operator: str) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
        got = called(method, operator, x)
        assert got.dtype == dtype
        assert torch.equal(got, called(method, operator, x.float()).to(dtype))


@every_basic_pair
def test_half_is_finite_at_every_scale(method: str, operator: str) -> None:
    for dtype, scale in itertools.product((torch.bfloat16, torch.float16), (1e-4, 1.0, 1e4)):
        x = (scale * torch.tensor(ROWS["random"])).to(dtype).requires_grad_()
        y = called(method, operator, x)
        y.sum().backward()
        assert bool(y.isfinite().all()), scale
        assert x.grad is not None
        assert bool(x.grad.isfinite().all()), scale


# ---------------------------------------------------------------------------------------------- shapes and modes


@every_pair
def test_any_dim_and_leading_shape(method: str, operator: str) -> None:
    x = batch(2, 5, 3)
    plain = called(method, operator, x.movedim(1, -1))
    moved = called(method, operator, x, dim=1)  # not contiguous along the order
    if operator in ("quantile", "median", "permutation"):
        assert torch.equal(moved, plain)
    else:
        assert torch.equal(moved, plain.movedim(-1, 1))
    one = called(method, operator, x[1].T[2].contiguous())
    torch.testing.assert_close(one, plain[1, 2], rtol=1e-12, atol=1e-12)


@every_pair
def test_no_rows_and_no_dimensions(method: str, operator: str) -> None:
    x = torch.zeros(0, 5, requires_grad=True)
    assert called(method, operator, x).shape == (0, *called(method, operator, torch.zeros(2, 5)).shape[1:])
    if operator != "permutation":
        assert called(method, operator, torch.tensor(2.0)).item() in (0.0, 1.0, 2.0)


@every_pair
def test_nothing_is_written_and_a_second_backward_is_the_first(method: str, operator: str) -> None:
    x, t = row("ties", requires_grad=True), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    before, version = x.detach().clone(), x._version
    loss = weighed(method, operator, x, t)
    first, second = (torch.autograd.grad(loss, (x, t), retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert torch.equal(x.detach(), before)
    assert x._version == version
    assert t._version == 0


@every_basic_pair
def test_vmap_is_the_batch(method: str, operator: str) -> None:
    x = batch(3, 5)
    function = partial(called, method, operator)
    torch.testing.assert_close(torch.func.vmap(function)(x), function(x), rtol=1e-12, atol=1e-12)
    slopes = torch.func.vmap(torch.func.grad(lambda x: function(x).square().sum()))(x)
    leaf = x.clone().requires_grad_()
    function(leaf).square().sum().backward()
    torch.testing.assert_close(slopes, leaf.grad, rtol=1e-9, atol=1e-12)


def test_a_method_is_an_object_or_its_name() -> None:
    x = batch(2, 5)
    assert torch.equal(called("bitonic", "rank", x), hg.soft.rank(x, 0.7, method=hg.soft.Network("bitonic")))
    assert not torch.equal(called("bitonic", "rank", x), called("odd-even", "rank", x))
    with pytest.raises(ValueError, match="permutation: method must be one with a permutation matrix"):
        called("permutahedron", "permutation", x)
    with pytest.raises(ValueError, match="Network: kind must be one of 'odd-even', 'bitonic', got 'merge'"):
        hg.soft.Network("merge")


def test_compiled_whole() -> None:
    """The projection, whose control flow would be a loop if it were not written by merging halves."""
    x = batch(2, 3).float()
    function = partial(hg.soft.rank, temperature=1.5, method="permutahedron")
    results = []
    for by in (function, torch.compile(function, fullgraph=True, backend="eager", dynamic=False)):
        leaf = x.clone().requires_grad_()
        y = by(leaf)
        y.square().sum().backward()
        results.append((y.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)
