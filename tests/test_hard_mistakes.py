"""Every mistake in the arguments of a hard function is named, and nothing is taken silently."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cases import HARD
from hardgrad import hard

HALVES = (torch.bfloat16, torch.float16)
INF, NAN = math.inf, math.nan

X = torch.randn(4, 3)
MISTAKES: dict[str, tuple[Callable[[], Tensor], str]] = {
    **{
        f"{name} of {what}": (lambda f=HARD[name].function, bad=bad: f(bad), name)
        for name in (
            "sign",
            "step",
            "binarize",
            "round",
            "quantize",
            "one_hot_argmax",
            "top_k",
            "top_k_mask",
            "quantile",
            "sort",
            "rank",
        )
        for what, bad in (("integers", X.long()), ("bools", X > 0), ("complex", X * 1j), ("a list", [0.5]))
    },
    "float8": (lambda: hard.sign(X.to(torch.float8_e4m3fn)), "x must be of dtype"),
    "codebook of integers": (lambda: hard.nearest_code(X, torch.ones(2, 3).long()), "codebook must be of dtype"),
    "codebook of no rows": (lambda: hard.nearest_code(X, X[:0]), "codebook must have at least one row"),
    "codebook of one row": (lambda: hard.nearest_code(X, X[0]), "codebook must have shape"),
    "codebook elsewhere": (lambda: hard.nearest_code(X, X.to("meta")), "codebook must be on x's device cpu, got meta"),
    "a number for vectors": (lambda: hard.nearest_code(X[0, 0], X), "x must have shape"),
    "a number to permute": (lambda: hard.permutation(X[0, 0]), "x must have shape"),
    "a number of classes": (lambda: hard.categorical(X[0, 0]), "p must have shape"),
    "probabilities 1": (lambda: hard.bernoulli(torch.ones(2, dtype=torch.long)), "p must be of dtype"),
    "a seed": (lambda: hard.bernoulli(X, generator=3), "generator must be"),
    "another seed": (lambda: hard.categorical(X.abs(), generator=3), "generator must be"),
    **{
        f"{name} along {dim!r}": (lambda f=f, dim=dim: f(X, dim=dim), f"{name}: dim must be")
        for name, f in (("sort", hard.sort), ("rank", hard.rank), ("binarize", hard.binarize))
        for dim in (2, -3, 1.0, None, True, "a")
    },
    "argmax along 2": (lambda: hard.one_hot_argmax(X, dim=2), "one_hot_argmax: dim must be from -2 to 1"),
    "top_k along 2": (lambda: hard.top_k(X, 1, dim=2), "top_k: dim must be from -2 to 1"),
    **{
        f"{name}, k={k!r}": (lambda f=f, k=k: f(X, k), f"{name}: k must be")
        for name, f in (("top_k", hard.top_k), ("kmeans", hard.kmeans))
        for k in (0, 5, -1, 2.0, True, "a", None)
    },
    **{
        f"mask of {k!r}": (lambda k=k: hard.top_k_mask(X, k), "top_k_mask: k must be") for k in (4, -1, 2.0, True, None)
    },
    **{
        f"quantile {q!r}": (lambda q=q: hard.quantile(X, q), "quantile: q must be") for q in (-0.1, 1.1, NAN, True, "a")
    },
    "mask along 2": (lambda: hard.top_k_mask(X, 1, dim=2), "top_k_mask: dim must be from -2 to 1"),
    "median along 2": (lambda: hard.median(X, dim=2), "median: dim must be from -2 to 1"),
    "median of integers": (lambda: hard.median(X.long()), "median: x must be of dtype"),
    "iterations": (lambda: hard.kmeans(X, 2, iterations=1.5), "kmeans: iterations must be"),
    "a NaN margin": (lambda: hard.sign(X, NAN), "sign: margin must be"),
    "a margin of text": (lambda: hard.sign(X, "1"), "sign: margin must be"),
    "a NaN threshold": (lambda: hard.step(X, NAN), "step: threshold must be"),
    "no threshold": (lambda: hard.step(X, None), "step: threshold must be"),
    "a true threshold": (lambda: hard.step(X, True), "step: threshold must be"),
    "thresholds of another shape": (lambda: hard.step(X, torch.zeros(2)), "step: threshold must broadcast"),
    "thresholds of integers": (lambda: hard.step(X, torch.zeros(3).long()), "step: threshold must be of dtype"),
    "margins of integers": (lambda: hard.sign(X, torch.zeros(3).long()), "sign: margin must be of dtype"),
    "margins of another shape": (lambda: hard.sign(X, torch.zeros(2)), "sign: margin must broadcast"),
    "a margin below zero": (lambda: hard.sign(X, torch.tensor([1.0, -1.0, 0.0])), "sign: margin must be at least 0"),
    "a bound of another shape": (lambda: hard.quantize(X, 4, torch.zeros(2)), "quantize: low must broadcast"),
    "bounds apart": (lambda: hard.quantize(X[:, :1], 4, X[:3, 0], X[:, 0] + 9), "quantize: high must broadcast"),
    "bounds of integers": (lambda: hard.quantize(X, 4, 0.0, torch.ones(3).long()), "quantize: high must be of dtype"),
    "bounds in another order": (
        lambda: hard.quantize(X, 4, torch.tensor([0.0, NAN, 2.0])),
        r"quantize: low must be below high, got low=2.0 and high=1.0; swap",
    ),
    "an infinite bound": (lambda: hard.quantize(X, 4, 0.0, torch.tensor(INF)), "quantize: low and high must be finite"),
    "one level": (lambda: hard.quantize(X, torch.ones(3, 1)), "quantize: levels must have at least 2"),
    "levels in disorder": (lambda: hard.quantize(X, torch.tensor([0.0, 2, 1])), "quantize: levels must be finite and"),
    "infinite levels": (lambda: hard.quantize(X, torch.tensor([0.0, INF])), "quantize: levels must be finite and rise"),
    "integers as levels": (lambda: hard.quantize(X, torch.arange(3)), "quantize: levels must be a whole number"),
    "levels of another shape": (lambda: hard.quantize(X, torch.arange(4.0).view(2, 2)), "levels without its last"),
    "levels and an end": (lambda: hard.quantize(X, torch.arange(3.0), high=2.0), "quantize: low and high must be left"),
    "levels elsewhere": (lambda: hard.quantize(X, torch.ones(2, device="meta")), "quantize: levels must be on x's"),
    **{
        f"levels {levels!r}": (lambda levels=levels: hard.quantize(X, levels), "quantize: levels must be")
        for levels in (1, -3, 4.0, True, None, 10**400)
    },
    **{
        f"bounds {b}": (lambda b=b: hard.quantize(X, 4, *b), f"quantize: {word}")
        for b, word in (
            ((NAN, 1.0), "low must be"),
            ((0.0, NAN), "high must be"),
            ((0.0, INF), "low and high must be finite"),
            ((-INF, 0.0), "low and high must be finite"),
            ((1.0, 0.0), "low must be below high"),
            ((0.0, 1e-320), "high - low must be"),
            ((-1e308, 1e308), "high - low must be"),
            (("0", 1.0), "low must be"),
        )
    },
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name: str) -> None:
    call, words = MISTAKES[name]
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert words in str(error.value)
    assert str(error.value).split(":")[0] in hard.__dict__


ODD: list[Any] = [
    0,
    1,
    2,
    3,
    -1,
    7,
    True,
    None,
    1.5,
    0.0,
    -0.5,
    NAN,
    INF,
    -INF,
    1e-320,
    1e300,
    "a",
    2**70,
    np.float32(0.5),
]
ODD += [np.int64(2), torch.tensor(0.5), torch.tensor(2), torch.ones(3), Fraction(1, 3)]
SHAPES = [(), (0,), (3,), (1, 3), (4, 3), (0, 3), (3, 0), (2, 4, 3)]
WITH_ARGUMENTS: dict[str, int] = {
    "sign": 1, "step": 1, "binarize": 1, "round": 0, "quantize": 3, "one_hot_argmax": 1, "top_k": 2, "sort": 1,
    "top_k_mask": 2, "quantile": 2, "median": 1,
    "rank": 1, "permutation": 0, "sort_rows_cols": 0, "kmeans": 1, "nearest_code": 1, "bernoulli": 0, "categorical": 0,
}  # fmt: skip


@settings(deadline=None, max_examples=1500, derandomize=True)
@given(st.sampled_from(sorted(WITH_ARGUMENTS)), st.randoms(use_true_random=False))
def test_nothing_silent_whatever_the_arguments(name: str, r: random.Random) -> None:
    """A value without a NaN that the input did not hold, or an error that names the function."""
    dtype = r.choice([torch.float64, torch.float32, *HALVES, torch.int64, torch.bool])
    x = torch.tensor(r.choice([0.0, 0.3, -1.0, 1e30])).expand(r.choice(SHAPES)).to(dtype)
    message, y = "", x
    try:
        y = getattr(hard, name)(x, *(r.choice(ODD) for _ in range(r.randint(0, WITH_ARGUMENTS[name]))))
    except (ValueError, TypeError) as error:
        message = str(error)
    assert not message or message.startswith((f"{name}: ", f"{name}() missing"))
    assert y.dtype == x.dtype
    assert not y.isnan().any() or (name == "categorical" and not (x > 0).all()) or x.isinf().any()
