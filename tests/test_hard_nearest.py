"""The nearest code by products with bounds: the very code that distances in double precision give, and how it is found.

The oracle is ``cdist`` from differences in double precision, all at once; exact arithmetic is in test_hard_laws.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hardgrad import hard
from hardgrad.hard.distances import nearest, nearest_center, nearest_row
from hardgrad.hard.screen import Screen

INF, NAN = math.inf, math.nan


def by_distances(x: Tensor, codes: Tensor) -> Tensor:
    gap = torch.cdist(x.double(), codes.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return gap.nan_to_num(nan=INF, posinf=INF).argmin(-1)  # the first of equals, on a CPU


def _clusters(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return x, c[torch.arange(len(c)) % 10] + 1e-5 * c


def _spoilt(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    x, c = x.clone(), c.clone()
    x[::7], x[1::7, 0], c[::3] = NAN, INF, NAN
    c[1, 0] = -INF
    return x, c


# Rows and codes that single precision cannot tell apart at once, and which of these the products leave to distances.
HARD_ONES: dict[str, tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], bool]] = {
    "plain": (lambda x, c: (x, c), False),
    "far from zero": (lambda x, c: (x + 1e4, c + 1e4), False),
    "doubles far from zero": (lambda x, c: (x.double() + 1e9, c.double() + 1e9), False),
    "one code far away": (lambda x, c: (x, torch.cat([c, torch.full_like(c[:1], 1e6)])), False),
    "every code twice": (lambda x, c: (x, torch.cat([c, c])), False),
    "every code nearly thrice": (lambda x, c: (x, torch.cat([c, c * (1 + 1e-7), c + 1e-6])), False),
    "half way": (lambda x, c: ((c[: len(x) // 2].repeat(2, 1) + c[: len(x) // 2 * 2]) / 2, c), False),
    "on codes": (lambda x, c: (c[: len(x)], c), False),
    "rows far away": (lambda x, c: (x * 1e6, c), False),
    "large": (lambda x, c: (x * 1e37, c * 1e37), False),
    "subnormal": (lambda x, c: (x * 1e-42, c * 1e-42), False),
    "halves": (lambda x, c: (x.half(), c.half()), False),
    "NaN and infinity": (_spoilt, False),
    "clusters": (_clusters, False),
    "rows beyond all": (lambda x, c: (x * 1e30, c), True),
    "equal codes": (lambda x, c: (x, c[:1].expand_as(c)), True),
    "no code": (lambda x, c: (x, c * NAN), True),
}


@pytest.mark.parametrize("k", [300, 2100], ids=["alone", "in groups"])
@pytest.mark.parametrize("name", HARD_ONES)
def test_the_nearest_is_that_of_distances(name: str, k: int) -> None:
    g = torch.Generator().manual_seed(k)
    make, left = HARD_ONES[name]
    x, c = make(torch.randn(150, 9, generator=g), torch.randn(k, 9, generator=g))
    wanted = by_distances(x, c)
    assert torch.equal(nearest_row(x, c), wanted)
    dtype = torch.promote_types(x.dtype, torch.float32)
    found = [Screen(c, precision, dtype).nearest(x, 2**18) for precision in (torch.float32, torch.float64)]
    for each in found:  # what a product says is so, and where it cannot say it says that
        assert torch.equal(each[each >= 0], wanted[each >= 0])
    assert bool((torch.maximum(*found) < 0).any()) == left
    x[::11] = NAN
    assert torch.equal(hard.nearest_index(x, c), wanted.masked_fill(x.isnan().any(-1), -1))


def test_wide_vectors_and_coarse_products_and_casts() -> None:
    g = torch.Generator().manual_seed(1)
    x, c = torch.randn(40, 700, generator=g), torch.randn(60, 700, generator=g)
    wanted = by_distances(x, c)
    assert torch.equal(nearest_row(x, c), wanted)
    try:
        torch.set_float32_matmul_precision("medium")  # which may multiply in bfloat16
        assert torch.equal(nearest_row(x, c), wanted)
    finally:
        torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert torch.equal(hard.nearest_index(x, c), wanted)


def test_a_compiled_graph_asks_outside_of_itself() -> None:
    g = torch.Generator().manual_seed(2)
    x, c = torch.randn(3, 50, 8, generator=g), torch.randn(400, 8, generator=g, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(hard.nearest_code, fullgraph=True, backend="eager")
    y = compiled(x, c)
    assert torch.equal(y, hard.nearest_code(x, c))
    counts = torch.autograd.grad(y.sum(), c)[0][:, 0]
    assert torch.equal(counts, hard.nearest_index(x, c).flatten().bincount(minlength=400).float())


def test_leading_dimensions_of_an_index() -> None:
    x, c = torch.randn(2, 3, 4), torch.randn(5, 4)
    assert hard.nearest_index(x, c).shape == (2, 3)
    assert hard.nearest_index(x[0, 0], c).item() == by_distances(x[0, :1], c).item()
    assert hard.nearest_index(torch.zeros(3, 0), torch.zeros(2, 0)).tolist() == [0, 0, 0]


def test_centers_of_several_sets() -> None:
    """In memory and order of its own, bit for bit: what k-means decides by."""
    x, c = torch.randn(2, 3, 2000, 5, dtype=torch.float64), torch.randn(2, 3, 130, 5, dtype=torch.float64)
    x[0, 0, 3], x[1, 1, 4, 2] = NAN, INF
    for a, b in zip(nearest_center(x, c), nearest(x, c), strict=True):
        assert torch.equal(a, b)
