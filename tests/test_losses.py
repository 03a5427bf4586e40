"""Losses of an order: the value is that of scipy and scikit-learn, the gradient that of the relaxed definition."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import average_precision_score, ndcg_score, top_k_accuracy_score
from torch import Tensor

import hardgrad as hg

METHODS = ("laplace", "softsort", "neuralsort", "permutahedron", "network")
L = hg.losses


def rows(ties: bool, count: int = 6, n: int = 9) -> dict[str, Tensor]:
    """Values with and without ties, a target, gains of 0 to 3, labels with at least one 1, classes."""
    generator = torch.Generator().manual_seed(int(ties))
    x, target = torch.randn(2, count, n, generator=generator, dtype=torch.float64)
    labels = torch.rand(count, n, generator=generator) < 0.4
    labels[:, 0] = True
    return {
        "x": (2 * x).round() if ties else x,
        "target": (2 * target).round() if ties else target,
        "gains": torch.randint(0, 4, (count, n), generator=generator).double(),
        "labels": labels,
        "classes": torch.randint(0, n, (count,), generator=generator),
    }


DATA = rows(ties=False)
HARD: dict[str, Any] = {"soft": False}
LOSSES: dict[str, Callable[..., Tensor]] = {
    "spearman": lambda x, **options: L.spearman(x, DATA["target"], **options),
    "kendall": lambda x, **options: L.kendall(x, DATA["target"], **options),
    "ndcg": lambda x, **options: L.ndcg(x, DATA["gains"], **options),
    "ndcg of 3": lambda x, **options: L.ndcg(x, DATA["gains"], 3, **options),
    "average_precision": lambda x, **options: L.average_precision(x, DATA["labels"], **options),
    "top_k_cross_entropy": lambda x, **options: L.top_k_cross_entropy(x, DATA["classes"], 3, **HARD | options),
    "top 1 or 3": lambda x, **options: L.top_k_cross_entropy(x, DATA["classes"], [0.25, 0, 0.75], **HARD | options),
}
every_loss = pytest.mark.parametrize("loss", LOSSES)


# ---------------------------------------------------------------------------------------------- exact values


@pytest.mark.parametrize("ties", [False, True])
def test_values_are_those_of_scipy_and_scikit_learn(ties: bool) -> None:
    data = rows(ties)
    x, target, gains, labels = (data[name].numpy() for name in ("x", "target", "gains", "labels"))
    for k in (None, 1, 3, 9):
        wanted = [1 - ndcg_score(g[None], s[None], k=k) for s, g in zip(x, gains, strict=True)]
        np.testing.assert_allclose(L.ndcg(data["x"], data["gains"], k, reduction="none"), wanted, atol=1e-12)
    pairs: list[tuple[Tensor, list[float]]] = [
        (
            L.spearman(data["x"], data["target"], reduction="none"),
            [1 - float(cast(Any, spearmanr)(a, b)[0]) for a, b in zip(x, target, strict=True)],
        ),
        (
            L.kendall(data["x"], data["target"], reduction="none"),
            [1 - float(cast(Any, kendalltau)(a, b)[0]) for a, b in zip(x, target, strict=True)],
        ),
        (
            L.average_precision(data["x"], data["labels"], reduction="none"),
            [1 - average_precision_score(y, s) for s, y in zip(x, labels, strict=True)],
        ),
    ]
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_the_top_k_error_is_that_of_scikit_learn() -> None:
    x, classes = DATA["x"], DATA["classes"]
    errors = [1 - top_k_accuracy_score(classes, x.numpy(), k=k, labels=range(9)) for k in (1, 2, 3, 8)]
    for k, error in zip((1, 2, 3, 8), errors, strict=True):
        assert L.top_k_cross_entropy(x, classes, k, **HARD).item() == pytest.approx(error)
    mixed = L.top_k_cross_entropy(x, classes, [0.5, 0.2, 0.3], **HARD).item()
    assert mixed == pytest.approx(0.5 * errors[0] + 0.2 * errors[1] + 0.3 * errors[2])
    assert L.top_k_cross_entropy(x, classes, torch.tensor([0.5, 0.2, 0.3]), **HARD).item() == pytest.approx(mixed)


def test_the_value_is_the_cross_entropy_of_the_name_unless_the_error_is_asked_for() -> None:
    """With k = n every class is among the k largest: no surprise; with a far class at k = 1 there is much."""
    x, classes = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([1])
    assert L.top_k_cross_entropy(x, classes, 3).item() == 0
    assert L.top_k_cross_entropy(x, classes, 1).item() > 4
    assert L.top_k_cross_entropy(x, classes, 1, **HARD).item() == 1


def test_the_first_of_equal_logits_is_guessed() -> None:
    """As ``hg.hard.top_k_mask`` does: of four equals, k = 2 guesses the first two."""
    classes = torch.arange(4)
    assert L.top_k_cross_entropy(torch.zeros(4, 4), classes, 2, reduction="none", **HARD).tolist() == [0, 0, 1, 1]


# ---------------------------------------------------------------------------------------------- the relaxed losses


def cdf(u: float) -> float:
    return math.exp(u) / 2 if u < 0 else 1 - math.exp(-u) / 2


def ranks(x: list[float], t: float) -> list[float]:
    return [sum(cdf((v - w) / t) for w in x) - 0.5 for v in x]


def top_mask(x: list[float], k: int, t: float) -> list[float]:
    low, high = min(x) - 50 * t, max(x) + 50 * t
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(cdf((v - middle) / t) for v in x) > k else (low, middle)
    return [cdf((v - low) / t) for v in x]


def spearman_of(x: list[float], y: list[float], t: float) -> float:
    return 1 - float(np.corrcoef(ranks(x, t), np.argsort(np.argsort(y)))[0, 1])


def kendall_of(x: list[float], y: list[float], t: float) -> float:
    pairs = list(itertools.combinations(range(len(x)), 2))
    a = np.array([2 * cdf((x[j] - x[i]) / t) - 1 for i, j in pairs])
    b = np.array([np.sign(y[j] - y[i]) for i, j in pairs])
    return 1 - float(a @ b / math.sqrt((a @ a) * (b @ b)))


def ndcg_of(x: list[float], gains: list[float], t: float, k: int | None = None) -> float:
    mask = [1.0] * len(x) if k is None else top_mask(x, k, t)
    discounts = [1 / math.log2(2 + len(x) - 1 - r) for r in ranks(x, t)]
    best = sum(g / math.log2(2 + i) for i, g in enumerate(sorted(gains, reverse=True)[:k]))
    return 1 - sum(g * d * m for g, d, m in zip(gains, discounts, mask, strict=True)) / best


def average_precision_of(x: list[float], labels: list[bool], t: float) -> float:
    def above(i: int, among: list[int]) -> float:
        return 1 + sum(cdf((x[j] - x[i]) / t) for j in among if j != i)

    found = [i for i, y in enumerate(labels) if y]
    return 1 - sum(above(i, found) / above(i, list(range(len(x)))) for i in found) / len(found)


def test_relaxed_values_are_the_definitions_with_laplace_ranks() -> None:
    t = 0.4
    lines = {name: value.tolist() for name, value in DATA.items()}
    options: dict[str, Any] = {"soft": True, "relative": False, "reduction": "none"}
    wanted = {
        "spearman": [spearman_of(x, y, t) for x, y in zip(lines["x"], lines["target"], strict=True)],
        "kendall": [kendall_of(x, y, t) for x, y in zip(lines["x"], lines["target"], strict=True)],
        "ndcg": [ndcg_of(x, g, t) for x, g in zip(lines["x"], lines["gains"], strict=True)],
        "ndcg of 3": [ndcg_of(x, g, t, 3) for x, g in zip(lines["x"], lines["gains"], strict=True)],
        "average_precision": [average_precision_of(x, y, t) for x, y in zip(lines["x"], lines["labels"], strict=True)],
        "top_k_cross_entropy": [
            -math.log(top_mask(x, 3, t)[c]) for x, c in zip(lines["x"], lines["classes"], strict=True)
        ],
        "top 1 or 3": [
            -math.log(0.25 * top_mask(x, 1, t)[c] + 0.75 * top_mask(x, 3, t)[c])
            for x, c in zip(lines["x"], lines["classes"], strict=True)
        ],
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(LOSSES[name](DATA["x"], temperature=t, **options), values, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
@every_loss
def test_a_small_temperature_is_the_exact_value(loss: str, method: str) -> None:
    if loss.startswith("top"):  # whose relaxed form is a logarithm of another size
        return
    soft = LOSSES[loss](DATA["x"], temperature=1e-7, method=method, soft=True)
    torch.testing.assert_close(soft, LOSSES[loss](DATA["x"]), rtol=0, atol=1e-4 if method == "network" else 1e-9)


@pytest.mark.parametrize("method", METHODS)
@every_loss
def test_gradients_are_the_relaxed_ones_and_those_finite_differences(loss: str, method: str) -> None:
    x = DATA["x"].clone().requires_grad_()
    t = torch.tensor(0.83, dtype=torch.float64, requires_grad=True)
    function = partial(LOSSES[loss], method=method)
    exact = torch.autograd.grad(function(x, temperature=t), (x, t))
    relaxed = torch.autograd.grad(function(x, temperature=t, soft=True), (x, t))
    assert all(map(torch.equal, exact, relaxed))
    assert float(exact[0].abs().max()) > 1e-4
    assert torch.autograd.gradcheck(lambda x, t: function(x, temperature=t, soft=True), (x, t), fast_mode=True)


@every_loss
def test_second_gradients_go_through(loss: str) -> None:
    x = DATA["x"].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: LOSSES[loss](x, soft=True), (x,), fast_mode=True)
    (first,) = torch.autograd.grad(LOSSES[loss](x), x, create_graph=True)
    assert float(torch.autograd.grad(first.square().sum(), x)[0].abs().max()) > 0


def test_ties_have_the_slope_that_parts_them() -> None:
    """All scores equal: what should come first rises, the others fall, in every loss."""
    for name, better in (("labels", [0]), ("target", [3])):
        x = torch.zeros(1, 4, requires_grad=True)
        other = torch.tensor([[1.0, 0, 0, 0]]) if name == "labels" else torch.tensor([[0.0, 1, 2, 3]])
        losses = [L.average_precision, L.ndcg] if name == "labels" else [L.spearman, L.kendall]
        for loss in losses:
            (slope,) = torch.autograd.grad(loss(x, other), x)
            assert slope.argmin().item() == better[0], loss
            assert slope.min() < 0 < slope.max(), loss


def test_no_slope_is_made_of_rounding() -> None:
    """Soft ranks of seven equals differ in the last bit; divided by their own length they would be anything."""
    for method in METHODS:
        x = torch.full((1, 7), 0.1, requires_grad=True)
        (slope,) = torch.autograd.grad(L.spearman(x, torch.arange(7.0)[None], method=method), x)
        assert float(slope.abs().max()) < 2, method


# ---------------------------------------------------------------------------------------------- rows and options


@every_loss
def test_reductions_are_those_of_torch(loss: str) -> None:
    each = LOSSES[loss](DATA["x"], reduction="none")
    assert each.shape == (6,)
    torch.testing.assert_close(LOSSES[loss](DATA["x"]), each.mean())
    torch.testing.assert_close(LOSSES[loss](DATA["x"], reduction="sum"), each.sum())


def test_any_dim_and_leading_shape() -> None:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.rand(2, 2, 5, 3, generator=generator)
    t = torch.tensor([0.5, 1.0, 2.0])  # one for each row, where the rows are
    for loss in (L.spearman, L.kendall, L.ndcg):
        for soft in (False, True):
            got = loss(x, y, temperature=t, dim=1, reduction="none", soft=soft)
            want = loss(x.mT, y.mT, temperature=t[:, None], reduction="none", soft=soft)
            assert got.shape == (2, 3)
            torch.testing.assert_close(got, want)
    classes = torch.tensor([[0, 1, 2], [4, 3, 2]])
    got = L.top_k_cross_entropy(x, classes, 2, dim=1, soft=True, reduction="none")
    torch.testing.assert_close(got, L.top_k_cross_entropy(x.mT, classes, 2, soft=True, reduction="none"))
    assert L.spearman(torch.zeros(0, 5), torch.zeros(0, 5), reduction="none").shape == (0,)


def test_rows_without_an_order_have_loss_one_and_finite_gradients() -> None:
    flat, steps = torch.ones(1, 4), torch.arange(4.0)[None]
    for loss, x, y in (
        (L.spearman, flat, steps),
        (L.spearman, steps, flat),
        (L.kendall, flat, steps),
        (L.kendall, steps, flat),
        (L.ndcg, steps, 0 * flat),
        (L.average_precision, steps, 0 * flat),
        (L.spearman, flat[:, :1], flat[:, :1]),
        (L.kendall, flat[:, :1], flat[:, :1]),
    ):
        x = x.clone().requires_grad_()
        value = loss(x, y)
        value.backward()
        assert value.item() == 1
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())


def test_a_nan_is_seen_in_its_row_alone() -> None:
    x, y = torch.rand(2, 2, 4, generator=torch.Generator().manual_seed(0))
    x[0, 1] = math.nan
    for loss in (L.spearman, L.kendall, L.ndcg):
        for soft in (False, True):
            assert loss(x, y, soft=soft, reduction="none").isnan().tolist() == [True, False]
    assert L.spearman(y, x, reduction="none").isnan().tolist() == [True, False]
    assert L.average_precision(x, y > 0.5, reduction="none").isnan().tolist() == [True, False]
    assert L.top_k_cross_entropy(x, torch.tensor([0, 1]), 2, reduction="none").isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@every_loss
def test_half_is_single_rounded_once(loss: str, dtype: torch.dtype) -> None:
    x = DATA["x"].to(dtype)
    for options in ({}, {"soft": True}):
        got = LOSSES[loss](x, **options)
        assert got.dtype == dtype
        assert torch.equal(got, LOSSES[loss](x.float(), **options).to(dtype))


@every_loss
def test_nothing_is_written_and_no_graph_made_without_need(loss: str) -> None:
    x = DATA["x"].clone()
    assert not LOSSES[loss](x).requires_grad
    leaf = x.clone().requires_grad_()
    with torch.no_grad():
        assert not LOSSES[loss](leaf).requires_grad
    value = LOSSES[loss](leaf)
    value.backward(retain_graph=True)
    first = leaf.grad.clone()  # type: ignore[union-attr]
    value.backward()
    torch.testing.assert_close(leaf.grad, 2 * first)
    assert torch.equal(leaf.detach(), x)


@every_loss
def test_vmap_is_the_batch(loss: str) -> None:
    """Over a second leading dimension, of which the losses know nothing."""
    x = torch.stack([DATA["x"], DATA["x"].flip(-1)])
    slopes = torch.func.vmap(torch.func.grad(LOSSES[loss]))(x)
    for one, wanted in zip(x, slopes, strict=True):
        leaf = one.clone().requires_grad_()
        LOSSES[loss](leaf).backward()
        torch.testing.assert_close(leaf.grad, wanted, rtol=1e-6, atol=1e-9)


def test_far_classes_have_a_gradient() -> None:
    """A class 150 temperatures below the others: its chance, e^-150, is no float32."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -150.0]], requires_grad=True)
    loss = L.top_k_cross_entropy(logits, torch.tensor([3]), 1, soft=True)
    loss.backward()
    assert loss.item() == pytest.approx(152, abs=1)
    assert logits.grad is not None
    assert logits.grad[0, 3].item() == pytest.approx(-1, abs=1e-3)


def test_infinite_scores_are_the_ends() -> None:
    x = torch.tensor([[1.0, -math.inf, 2.0, math.inf]], requires_grad=True)
    for loss in (L.spearman, L.kendall):
        value = loss(x, torch.tensor([[1.0, 0.0, 2.0, 3.0]]))
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())


def trained_by(loss: Callable[[Tensor, Tensor], Tensor]) -> float:
    """An ordinary script that learns an order that no squared error sees: the target's scale is wild."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(32, 8, 4, generator=generator)
    target = (4 * features @ torch.tensor([1.0, -2.0, 0.5, 0.0])).exp()
    model = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(features).squeeze(-1), target).backward()
        optimizer.step()
    return L.spearman(model(features).squeeze(-1).detach(), target).item()


def test_one_line_of_a_script_changes() -> None:
    plain = trained_by(torch.nn.functional.mse_loss)
    for loss in (L.spearman, L.kendall):
        assert trained_by(loss) < 0.02 < plain


def test_mistakes_are_named() -> None:
    x, y = torch.rand(2, 4), torch.rand(2, 4)
    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: L.spearman(x, y[:, :3]), r"spearman: target must have the shape of x, \(2, 4\), got \(2, 3\)"),
        (
            lambda: L.kendall(x, y, reduction="avg"),
            "kendall: reduction must be one of 'mean', 'sum', 'none', got 'avg'",
        ),
        (lambda: L.spearman(x, y, -1.0), "spearman: temperature must be at least 0"),
        (lambda: L.spearman(x, y, method="sorted"), "spearman: method must be one of 'laplace'"),
        (lambda: L.ndcg(x, y - 1), "ndcg: relevance must be at least 0, got -"),
        (lambda: L.ndcg(x, y, 5), "ndcg: k must be at least 1 and at most 4, got 5"),
        (lambda: L.average_precision(x, y), "average_precision: labels must be 0 or 1"),
        (
            lambda: L.top_k_cross_entropy(x, torch.tensor([0, 4])),
            "top_k_cross_entropy: k must be at least 1 and at most 4",
        ),
        (lambda: L.top_k_cross_entropy(x, torch.tensor([0, 4]), 2), "target must be from 0 to 3, got 0 to 4"),
        (lambda: L.top_k_cross_entropy(x, torch.tensor([0]), 2), r"target must be int64 classes of shape \(2,\)"),
        (lambda: L.top_k_cross_entropy(x, torch.tensor([0, 1]), [0.5, 0.4]), "that sum to 1, got 2 that sum to 0.9"),
    ]
    for call, message in mistakes:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="spearman: x must be of dtype"):
        L.spearman(x.long(), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        L.spearman(x, y, torch.tensor(0.5, requires_grad=True)).backward()
