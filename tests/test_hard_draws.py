"""The samplers: rare events as rare as they should be, weights of any size, and what is no distribution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from hardgrad import hard

HALVES = (torch.bfloat16, torch.float16)
INF, NAN = math.inf, math.nan


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7), b.nan_to_num(7))


def deal(monkeypatch: pytest.MonkeyPatch, *uniforms: float) -> None:
    """Let ``torch.rand`` give these, one a call, in whatever precision it is asked for."""
    rest = iter(uniforms)

    def rand(shape: tuple[int, ...], *, dtype: torch.dtype, **_: Any) -> Tensor:
        return torch.full(tuple(shape), next(rest), dtype=dtype)

    monkeypatch.setattr(torch, "rand", rand)


RARE = [2e-9, 1e-12, 2.0**-30, 3e-7, 0.1, 1 / 3, 1 - 1e-9, 1 - 2.0**-24, 1e-19]


def test_uniforms_of_the_processor_are_whole_cells() -> None:
    for dtype, cells in ((torch.float32, 2**24), (torch.float64, 2**53)):
        u = torch.rand(1000, dtype=dtype).double() * cells
        assert torch.equal(u, u.round())


@pytest.mark.parametrize("p", RARE)
def test_a_bernoulli_event_is_as_rare_as_it_should_be(p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the cell of p it fires, above it does not, and in it with the share of the cell below p: together, p.

    Under vmap, where the second uniform is drawn at once, and where the first decides alone.
    """
    for dtype, run in itertools.product((torch.float32, torch.float64), (hard.bernoulli, vmap(hard.bernoulli))):
        value = torch.full((1,), p, dtype=dtype)
        cells = 2**53 if dtype == torch.float64 and run is hard.bernoulli else 2**24
        whole, share = divmod(Fraction(value.item()) * cells, 1)
        for u, v, fires in (
            (whole - 1, 1 - 2.0**-53, 1),
            (whole, float(share) * (1 - 2.0**-45), 1),
            (whole, float(share) * (1 + 2.0**-45), 0),
            (whole + 1, 0.0, 0),
        ):
            if 0 <= u < cells and v < 1 and not (share == 0 and u == whole and fires):
                deal(monkeypatch, float(Fraction(u) / cells), v)
                assert run(value).item() == fires, (dtype, u, v)


def test_certain_events() -> None:
    for dtype in (torch.float64, torch.float32, *HALVES):
        p = torch.tensor([-INF, -1.0, -0.0, 0.0, 1.0, 2.0, torch.finfo(dtype).max, INF, NAN]).to(dtype)
        wanted = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1, NAN], dtype=dtype)
        for run in (hard.bernoulli, vmap(hard.bernoulli, randomness="different")):
            for _ in range(20):
                assert same(run(p), wanted)


@pytest.mark.parametrize("run", [hard.categorical, vmap(hard.categorical, randomness="different")])
def test_categorical_at_every_scale(run: Callable[[Tensor], Tensor]) -> None:
    """Each class as often as its weight says, n = 4,000, seed 0, within 4.5 standard errors; zero is never drawn."""
    torch.manual_seed(0)
    shares = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0], dtype=torch.float64)
    for dtype in (torch.float64, torch.float32, *HALVES):
        limits = torch.finfo(dtype)
        for scale in (1.0, limits.max, limits.tiny, 4 * limits.smallest_normal * limits.eps):
            drawn = run((shares * scale).to(dtype).expand(4000, -1)).double()
            assert (drawn.sum(-1) == 1).all()
            assert ((drawn.mean(0) - shares).abs() <= 4.5 * (shares * (1 - shares) / 4000).sqrt()).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_edges_between_classes(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.tensor([[0.0, 2e-9, 0.0, 1.0, 3.0, 0.0]], dtype=dtype)
    total = sum(map(Fraction, weights[0].tolist()))
    edge = float(Fraction(weights[0, 1].item()) / total)
    for u, drawn in ((0.0, 1), (edge * (1 - 1e-6), 1), (edge * (1 + 1e-6), 3), (0.5, 4), (1 - 2.0**-53, 4)):
        deal(monkeypatch, u)
        assert hard.categorical(weights).argmax().item() == drawn
        coarse = math.floor(u * 2**24) / 2**24
        deal(monkeypatch, coarse, (u - coarse) * 2**24)
        assert vmap(hard.categorical)(weights).argmax().item() == drawn


def test_weights_that_are_none() -> None:
    rows = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, INF], [NAN, 1.0], [INF, INF]])
    for dtype in (torch.float64, torch.float32, *HALVES):
        assert hard.categorical(rows.to(dtype)).isnan().all(-1).tolist() == [False, True, True, True, True]
    bad = torch.tensor([[1.0, 2.0], [3.0, -0.5]])
    with pytest.raises(ValueError, match=r"categorical: p must hold weights of at least 0, got -0.5; give logits as"):
        hard.categorical(bad)
    assert vmap(hard.categorical, randomness="different")(bad).isnan().all(-1).tolist() == [False, True]
