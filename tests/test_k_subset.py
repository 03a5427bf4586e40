"""The law of subsets of k: against plain loops, with any logits, and wherever torch's distributions go."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, kl_divergence

import hardgrad as hg
from hardgrad.hard import counts

F64 = {"dtype": torch.float64}
INF = math.inf
SIZES = [(n, k) for n in (1, 2, 3, 5, 8, 12) for k in range(n + 1)]


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile turns the checks of all distributions off for the rest of the process, at its first use.

    It must not be first used in here, where what it sets is undone: what is compiled after that would be checked.
    """
    torch.compile(torch.neg, backend="eager")(torch.ones(()))
    monkeypatch.setattr(Distribution, "_validate_args", True)


def logits_of(n: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, generator=torch.Generator().manual_seed(n), **F64)


def by_loops(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every mask, its log-probability, and the log of the normalizer."""
    n = logits.shape[-1]
    masks, sums = [], []
    nothing = 0 * logits.nan_to_num().sum()  # to differentiate, where k is 0
    for items in itertools.combinations(range(n), k):
        masks.append([float(i in items) for i in range(n)])
        sums.append(sum((logits[i] for i in items), nothing))
    together = torch.stack(sums)
    return torch.tensor(masks, **F64), together - together.logsumexp(0), together.logsumexp(0)


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_every_number_is_that_of_plain_loops(n: int, k: int) -> None:
    logits = logits_of(n, 2.0)
    q, (masks, log_probs, normalizer) = hg.KSubset(logits, k), by_loops(logits, k)
    assert torch.equal(q.enumerate_support(), masks)
    torch.testing.assert_close(q.log_prob(masks), log_probs, rtol=0, atol=1e-12)
    assert abs(q.log_prob(masks).exp().sum() - 1) < 1e-10
    torch.testing.assert_close(q.log_normalizer, normalizer, rtol=0, atol=1e-12)
    mean = log_probs.exp() @ masks
    torch.testing.assert_close(q.marginals, mean, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(q.variance, log_probs.exp() @ (masks - mean).square(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(q.entropy(), -(log_probs.exp() * log_probs).sum(), rtol=0, atol=1e-12)
    torch.testing.assert_close(q.log_prob(q.mode), log_probs.max(), rtol=0, atol=1e-12)
    other = logits_of(n + 1)[:n]
    divergence = (log_probs.exp() * (log_probs - by_loops(other, k)[1])).sum()
    torch.testing.assert_close(kl_divergence(q, hg.KSubset(other, k)), divergence, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 0), (4, 2), (5, 4), (7, 3)])
def test_first_and_second_derivatives_are_those_of_plain_loops(n: int, k: int) -> None:
    leaf, along = logits_of(n).requires_grad_(), logits_of(n + 20)[:n]

    def loops(which: str) -> Tensor:
        masks, log_probs, normalizer = by_loops(leaf, k)
        found = {"log_prob": log_probs[-1], "log_normalizer": normalizer, "marginals": (log_probs.exp() @ masks)[0]}
        return (found | {"entropy": -(log_probs.exp() * log_probs).sum()})[which]

    q = hg.KSubset(leaf, k)
    for which, value in {
        "log_prob": q.log_prob(q.enumerate_support()[-1]),
        "log_normalizer": q.log_normalizer,
        "marginals": q.marginals[0],
        "entropy": q.entropy(),
    }.items():
        first, expected = (torch.autograd.grad(v, leaf, create_graph=True)[0] for v in (value, loops(which)))
        torch.testing.assert_close(first, expected, rtol=0, atol=1e-12)
        if which == "log_normalizer":
            torch.testing.assert_close(first, q.marginals, rtol=0, atol=1e-14)
        second, expected = (torch.autograd.grad((g * along).sum(), leaf)[0] for g in (first, expected))
        torch.testing.assert_close(second, expected, rtol=0, atol=1e-11, msg=lambda m, w=which: f"{w}: {m}")


def test_gradients_by_finite_differences() -> None:
    leaf = torch.randn(1, 4, **F64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: hg.KSubset(x, 2).marginals, leaf, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: hg.KSubset(x, 2).log_normalizer, leaf)


def test_samples_are_of_the_law_that_scores_them() -> None:
    """Chi-square of 40,000 draws over the 35 subsets of 3 of 7, seed 1: 34 degrees, below their mean + 4 sigma."""
    logits = logits_of(7, 1.5)
    q = hg.KSubset(logits, 3)
    masks, log_probs, _ = by_loops(logits, 3)
    number = 2.0 ** torch.arange(7, **F64)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    for drawn in (q.sample((40_000,)), hg.hard.k_subset(logits.expand(40_000, 7), 3, generator=generator)):
        hits = ((drawn @ number).unsqueeze(-1) == masks @ number).sum(0)
        assert hits.sum() == 40_000
        expected = 40_000 * log_probs.exp()
        assert ((hits - expected).square() / expected).sum() < 34 + 4 * math.sqrt(2 * 34)
        # The same draws are far from a law that is 0.2 away in the logits.
        wrong = 40_000 * by_loops(logits + 0.2 * logits_of(9)[:7], 3)[1].exp()
        assert ((hits - wrong).square() / wrong).sum() > 34 + 4 * math.sqrt(2 * 34)


def test_the_largest_of_noisy_logits_are_another_law() -> None:
    """Weights 1, 2, 4, and 2 of them: .143, .286, .571 here, and .105, .286, .610 where Gumbel noise is added.

    60,000 draws, seed 0: a share is known to 0.002, and each is within 4.5 of those of its own law.
    """
    weights = torch.tensor([1.0, 2.0, 4.0], **F64)
    q = hg.KSubset(weights.log(), 2)
    ours = q.log_prob(q.enumerate_support()).exp()
    pairs = list(itertools.combinations(range(3), 2))
    torch.testing.assert_close(ours, torch.tensor([weights[i] * weights[j] for i, j in pairs], **F64) / 14)
    one_after_another = torch.tensor(
        [sum(weights[a] / 7 * weights[b] / (7 - weights[a]) for a, b in ((i, j), (j, i))) for i, j in pairs], **F64
    )
    assert [round(p, 3) for p in one_after_another.tolist()] == [0.105, 0.286, 0.61]
    noise = -torch.rand(60_000, 3, **F64).log().neg().log()
    largest = hg.hard.top_k_mask(weights.log() + noise, 2)
    for drawn, law, other in (
        (largest, one_after_another, ours),
        (q.sample((60_000,)), ours, one_after_another),
    ):
        shares = torch.stack([drawn[:, i] * drawn[:, j] for i, j in pairs], -1).mean(0)
        error = (law * (1 - law) / 60_000).sqrt()
        assert ((shares - law).abs() / error).max() < 4.5
        assert ((shares - other).abs() / error).max() > 10


def test_scoring_samples_of_the_other_law_is_biased() -> None:
    """By enumeration: the score function of this law, averaged over samples of the largest noisy logits."""
    leaf = torch.tensor([1.0, 2.0, 4.0], **F64).log().requires_grad_()
    values = torch.tensor([0.3, -1.0, 2.0], **F64)
    q = hg.KSubset(leaf, 2)
    log_probs = q.log_prob(q.enumerate_support())
    (right,) = torch.autograd.grad((log_probs.exp() * values).sum(), leaf, retain_graph=True)
    for law, is_right in ((log_probs.detach().exp(), True), (torch.tensor([0.1048, 0.2857, 0.6095], **F64), False)):
        (found,) = torch.autograd.grad((law * values * log_probs).sum(), leaf, retain_graph=True)
        assert ((found - right).norm() / right.norm() < 1e-9) == is_right
        assert is_right or (found - right).norm() / right.norm() > 0.05


@pytest.mark.parametrize(
    ("row", "k"),
    [
        ([1e4, -1e4, 0.0, 1e4 - 1], 2),
        ([1e4, 1e4, -1e4, -1e4], 1),
        ([1e4, 1e4, -1e4, -1e4], 3),
        ([30.0, 0.0, -30.0], 1),
        ([5e3, 1.0, 0.5, 0.0, -5e3], 3),
    ],
)
def test_logits_of_any_size(row: list[float], k: int) -> None:
    leaf = torch.tensor(row, **F64).requires_grad_()
    q, (masks, log_probs, normalizer) = hg.KSubset(leaf, k), by_loops(leaf, k)
    torch.testing.assert_close(q.log_prob(masks), log_probs, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(q.log_normalizer, normalizer, rtol=1e-13, atol=1e-11)
    torch.testing.assert_close(q.marginals, log_probs.exp() @ masks, rtol=1e-9, atol=1e-300)
    first = [torch.autograd.grad(p, leaf, create_graph=True)[0] for p in (q.entropy(), -(log_probs.exp() @ log_probs))]
    torch.testing.assert_close(first[0], first[1], rtol=1e-6, atol=1e-11)
    assert (q.sample((50,)).sum(-1) == k).all()


def test_infinities_are_certain_and_impossible_items() -> None:
    leaf = torch.tensor([INF, 0.3, -INF, -0.4, 1.0], requires_grad=True)
    q, inner = hg.KSubset(leaf, 2), hg.KSubset(torch.tensor([0.3, -0.4, 1.0]), 1)
    assert (q.sample((200,))[:, [0, 2]] == torch.tensor([1.0, 0.0])).all()
    torch.testing.assert_close(q.marginals[[1, 3, 4]], inner.marginals)
    assert q.marginals[[0, 2]].tolist() == [1, 0]
    torch.testing.assert_close(q.entropy(), inner.entropy())
    one = torch.tensor([1.0, 1, 0, 0, 0])
    torch.testing.assert_close(q.log_prob(one), inner.log_prob(one[[1, 3, 4]]))
    assert q.log_prob(torch.tensor([0.0, 1, 0, 0, 1])) == -INF
    for value in (q.log_prob(one), q.entropy(), q.marginals[1], kl_divergence(q, q.expand(()))):
        (slope,) = torch.autograd.grad(value, leaf, retain_graph=True)
        assert slope.isfinite().all()
        assert slope[[0, 2]].tolist() == [0, 0]
    assert q.log_normalizer == INF
    assert kl_divergence(hg.KSubset(torch.zeros(5), 2), q) == INF
    certain = hg.KSubset(torch.tensor([INF, -INF, INF]), 2)
    assert certain.sample().tolist() == certain.mean.tolist() == [1, 0, 1]
    assert certain.entropy() == certain.log_prob(certain.mode) == 0


def test_rare_items_are_as_rare_as_their_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two items, drawn with 2e-9: counted where the uniform is in its last cell, of 2^-24; 4.5 sigma."""
    rand, calls = torch.rand, []

    def last_cell(*shape: Any, **options: Any) -> Tensor:
        calls.append(shape)
        return rand(*shape, **options) if len(calls) % 2 == 0 else torch.full(*shape, 1 - 2.0**-24, **options)

    monkeypatch.setattr(torch, "rand", last_cell)
    p = 2e-9
    drawn = hg.hard.k_subset(torch.tensor([p, 1 - p], **F64).log().expand(200_000, 2), 1)[:, 0]
    expected = p * 2**24
    assert abs(drawn.mean() - expected) < 4.5 * math.sqrt(expected / 200_000)


def test_many_items_agree_with_a_normal_law_and_with_themselves() -> None:
    """n = 3000: equal logits are counted by binomials, and marginals sum to k whatever the logits are."""
    n, k = 3000, 100
    equal = hg.KSubset(torch.full((n,), 0.7, **F64), k)
    count = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    torch.testing.assert_close(equal.entropy(), torch.tensor(count, **F64), rtol=1e-12, atol=0)
    torch.testing.assert_close(equal.log_prob(equal.mode), torch.tensor(-count, **F64), rtol=1e-12, atol=0)
    leaf = torch.randn(n, generator=torch.Generator().manual_seed(0), **F64).mul(3).requires_grad_()
    q = hg.KSubset(leaf, k)
    torch.testing.assert_close(q.marginals.sum(), torch.tensor(100.0, **F64), rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(q.log_prob(q.mode), leaf)
    torch.testing.assert_close(slope, q.mode - q.marginals, rtol=0, atol=1e-12)
    nudged = [hg.KSubset(leaf.detach() + s * 1e-4 * q.mode, k).log_normalizer for s in (1, -1)]
    torch.testing.assert_close((nudged[0] - nudged[1]) / 2e-4, (q.marginals * q.mode).sum(), rtol=1e-6, atol=0)
    assert (q.sample((3,)).sum(-1) == k).all()


def test_large_k_by_fourier_transforms_is_what_sums_give(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = logits_of(1200, 2.0).requires_grad_()
    found = []
    for long in (counts._LONG, 10**9):
        monkeypatch.setattr(counts, "_LONG", long)
        q = hg.KSubset(leaf, 500)
        mask = hg.hard.k_subset(leaf, 500, generator=torch.Generator().manual_seed(0))
        assert mask.sum() == 500
        numbers = [q.log_prob(mask), q.entropy(), q.marginals]
        slopes = [torch.autograd.grad(number.sum(), leaf)[0] for number in numbers[:2]]
        found.append([mask, *numbers, *slopes])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


def test_bernoulli_units_that_are_told_their_count() -> None:
    """Another way to the law: 200,000 draws of free units, those with 2 ones kept, seed 0, 4.5 sigma."""
    logits = logits_of(5)
    free = Bernoulli(logits=logits).sample((200_000,))
    kept = free[free.sum(-1) == 2]
    mean = hg.KSubset(logits, 2).marginals
    assert ((kept.mean(0) - mean).abs() / (mean * (1 - mean) / len(kept)).sqrt()).max() < 4.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_is_double_rounded_once(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 6).mul(4).to(dtype)
    q, wide = hg.KSubset(logits, 2), hg.KSubset(logits.double(), 2)
    b = q.sample()
    assert b.dtype == dtype
    for of in (lambda q: q.log_prob(b), lambda q: q.marginals, lambda q: q.entropy(), lambda q: q.log_normalizer):
        assert torch.equal(of(q), of(wide).float().to(dtype))


def test_it_is_a_distribution_among_others() -> None:
    logits = torch.randn(4, 3, 6).transpose(0, 1)
    q = hg.KSubset(logits, 2)
    assert (q.batch_shape, q.event_shape) == ((3, 4), (6,))
    assert not q.has_rsample
    assert q.support.is_discrete
    assert q.support.check(q.sample((5,))).all()
    assert not q.support.check(torch.ones(6))
    assert q.enumerate_support().shape == (15, 3, 4, 6)
    assert q.enumerate_support(expand=False).shape == (15, 1, 1, 6)
    both = Independent(q, 1)
    b = both.sample((7,))
    torch.testing.assert_close(both.log_prob(b), q.log_prob(b).sum(-1))
    torch.testing.assert_close(both.entropy(), q.entropy().sum(-1))
    torch.testing.assert_close(kl_divergence(both, Independent(hg.KSubset(0 * logits, 2), 1)).shape, torch.Size([3]))
    wider = hg.KSubset(logits[0, 0], 2).expand((5, 2))
    assert wider.sample().shape == (5, 2, 6)
    torch.testing.assert_close(wider.log_prob(b[0, 0, 0]), q.log_prob(b[0, 0, 0])[0, 0].expand(5, 2))
    assert str(q) == "KSubset(logits: torch.Size([3, 4, 6]), k: 2)"
    before = logits.clone()
    torch.manual_seed(3)
    first = q.sample()
    torch.manual_seed(3)
    assert torch.equal(first, q.sample())
    assert torch.equal(logits, before)
    assert hg.KSubset(torch.zeros(0, 4), 2).sample((3,)).shape == (3, 0, 4)
    assert hg.KSubset(torch.zeros(2, 4, device="meta"), 2).log_prob(torch.zeros(2, 4, device="meta")).shape == (2,)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning:torch.*")
def test_graphs_and_transforms() -> None:
    logits = torch.randn(4, 6, **F64)
    b = hg.hard.k_subset(logits, 2)

    def all_of(x: Tensor, b: Tensor) -> Tensor:
        q = hg.KSubset(x, 2)
        return q.log_prob(b) + q.entropy() + (q.marginals * b).sum(-1)

    leaf = logits.clone().requires_grad_()
    (plain,) = torch.autograd.grad(all_of(leaf, b).sum(), leaf)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(all_of))(logits, b), plain)
    torch.testing.assert_close(torch.func.jacfwd(lambda x: all_of(x, b[0]))(logits[0]), plain[0])

    def compiled(x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return all_of(x, b), hg.hard.k_subset(x, 2)

    value, drawn = torch.compile(compiled, fullgraph=True, backend="aot_eager")(leaf, b)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), leaf)[0], plain)
    assert (drawn.sum(-1) == 2).all()
    cotangents = torch.eye(4, **F64)
    (rows,) = torch.autograd.grad(all_of(leaf, b), leaf, cotangents, is_grads_batched=True)
    torch.testing.assert_close(rows.sum(0), plain)
    drawn = torch.func.vmap(lambda x: hg.hard.k_subset(x, 2), randomness="different")(logits.expand(50, 4, 6))
    assert (drawn.sum(-1) == 2).all()
    assert drawn.std(0).sum() > 0
    traced = torch.jit.trace(lambda x: hg.hard.k_subset(1e6 * x, 2), logits)
    assert torch.equal(traced(logits - 2), hg.hard.top_k_mask(logits, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(all_of(logits, b), all_of(leaf, b).detach(), rtol=0, atol=0)


def test_a_layer_that_chooses_has_the_slope_of_the_marginals() -> None:
    layer = hg.straight_through(partial(hg.hard.k_subset, k=2), soft=lambda x: hg.KSubset(x, 2).marginals)
    leaf, along = torch.randn(3, 5, **F64).requires_grad_(), torch.randn(3, 5, **F64)
    y = layer(leaf)
    assert (y.sum(-1) == 2).all()
    expected = torch.autograd.grad((hg.KSubset(leaf, 2).marginals * along).sum(), leaf)[0]
    torch.testing.assert_close(torch.autograd.grad((y * along).sum(), leaf)[0], expected)


def test_relaxed_subsets_are_refused_and_a_cold_path_is_that_of_the_mask() -> None:
    leaf = torch.randn(4, 6, **F64).requires_grad_()
    q = hg.KSubset(leaf, 2)
    with pytest.raises(ValueError, match=r"gumbel: hard must be True for a KSubset, got False; no path .*another law"):
        hg.gumbel(q, lambda b: b.sum(-1), hard=False)
    seen: list[Tensor] = []

    def f(b: Tensor) -> Tensor:
        seen.append(b.detach().clone())
        return (b * torch.arange(6.0)).sum(-1)

    for estimator in (hg.gumbel, hg.gumbel_rao, hg.montecarlo.straight_through_estimator):
        hg.exact(q, f)
        value = estimator(q, f, samples=50)
        assert set(seen[-1].sum(-1).unique().tolist()) == {2.0}
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        assert slope.isfinite().all()
        torch.testing.assert_close(slope.sum(-1), torch.zeros(4, **F64), rtol=0, atol=1e-12)  # a shift changes nothing


Q = hg.KSubset(torch.zeros(3, 4), 2)
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "k above n": (
        lambda: hg.KSubset(torch.zeros(3), 4),
        ValueError,
        "KSubset: k must be at least 0 and at most 3, got 4",
    ),
    "k below 0": (lambda: hg.hard.k_subset(torch.zeros(3), -1), ValueError, "k_subset: k must be at least 0 .*got -1"),
    "k no int": (lambda: hg.KSubset(torch.zeros(3), 1.5), TypeError, "KSubset: k must be a whole number, .*float 1.5"),
    "integers": (lambda: hg.KSubset(torch.arange(3), 1), TypeError, "KSubset: logits must be of dtype .*logits.float"),
    "a list": (lambda: hg.KSubset([0.0], 1), TypeError, "KSubset: logits must be a tensor, got list"),
    "no items": (lambda: hg.KSubset(torch.zeros(3, 0), 0), ValueError, "KSubset: logits must have at least one entry"),
    "no dimension": (
        lambda: hg.KSubset(torch.tensor(0.0), 1),
        ValueError,
        r"KSubset: logits must have shape \(..., n\)",
    ),
    "NaN": (
        lambda: hg.KSubset(torch.tensor([0.0, math.nan]), 1),
        ValueError,
        "KSubset: logits must be numbers, got NaN",
    ),
    "too many certain": (
        lambda: hg.KSubset(torch.tensor([[0.0, 0, 0], [INF, INF, 0]]), 1),
        ValueError,
        "KSubset: logits must leave a choice of k=1, got a row of 2 entries of inf.*3 above -inf",
    ),
    "too few possible": (
        lambda: hg.hard.k_subset(torch.tensor([-INF, -INF, 0]), 2),
        ValueError,
        "k_subset: logits must leave a choice of k=2, .* and 1 above -inf, .*; mask fewer",
    ),
    "another count": (
        lambda: Q.log_prob(torch.ones(4)),
        ValueError,
        "KSubset: value must be masks of 2 ones .*4 ones and 0",
    ),
    "no mask": (
        lambda: Q.log_prob(torch.full((4,), 0.5)),
        ValueError,
        "KSubset: value must be masks of 2 ones .*0 ones",
    ),
    "another width": (
        lambda: Q.log_prob(torch.ones(5)),
        ValueError,
        r"KSubset: value must be masks whose shape .*\(5,\)",
    ),
    "many": (
        lambda: hg.KSubset(torch.zeros(40), 20).enumerate_support(),
        ValueError,
        "KSubset.enumerate_support: k of n must have at most 65536 subsets, got 137846528820 .*; sample them",
    ),
    "another k": (
        lambda: kl_divergence(Q, hg.KSubset(torch.zeros(4), 3)),
        ValueError,
        "kl_divergence must be given two of the same k and n, got k=2 of 4 and k=3 of 4",
    ),
    "rsample": (Q.rsample, NotImplementedError, "KSubset.rsample: .*score_function"),
    "validate_args": (lambda: hg.KSubset(torch.zeros(3), 1, validate_args=1), TypeError, "KSubset: validate_args must"),
    "exact of many": (
        lambda: hg.exact(hg.KSubset(torch.zeros(40), 20), lambda b: b.sum(-1)),
        ValueError,
        "exact: an event may have at most max_states=65536 outcomes, got 137846528820; .*score_function",
    ),
    "disarm": (
        lambda: hg.disarm(Q, lambda b: b.sum(-1)),
        ValueError,
        "disarm: q must be a torch.distributions Bernoulli .*, got KSubset; use score_function, double_cv",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_sentences(mistake: str) -> None:
    call, kind, words = MISTAKES[mistake]
    with pytest.raises(kind, match=words):
        call()


def test_where_nothing_can_be_said_a_row_without_a_choice_is_nan() -> None:
    rows = torch.tensor([[0.0, 0, 0], [INF, INF, 0], [math.nan, 0, 0]])
    drawn = torch.func.vmap(lambda x: hg.hard.k_subset(x, 1), randomness="different")(rows)
    assert drawn.isnan().all(-1).tolist() == [False, True, True]
    q = hg.KSubset(rows, 1, validate_args=False)
    assert q.sample().isnan().all(-1).tolist() == [False, True, True]
    assert q.log_prob(torch.tensor([1.0, 0, 0])).isfinite().tolist() == [True, False, False]


def test_the_doctor_measures_gradients_of_subsets() -> None:
    weights = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    q = hg.KSubset(torch.randn(2, 5, generator=torch.Generator().manual_seed(1)), 2)

    def f(b: Tensor) -> Tensor:
        return (b * weights).sum(-1).square() + b[..., 0] * b[..., 3]

    offered = hg.doctor.candidates(f, q)
    assert set(offered) >= {"exact", "score_function", "straight_through_estimator", "gumbel", "gumbel_rao"}
    for candidate in offered.values():  # none that would refuse
        assert candidate(q, f).shape == (2,)
    found = hg.diagnose({name: offered[name] for name in ("exact", "score_function, 8 left out")}, f, q)
    assert found.truth.kind == "enumeration"
    assert found["exact"].unbiased
    assert not found["score_function, 8 left out"].biased


def test_masks_of_another_size_are_refused_though_nothing_is_validated() -> None:
    q = hg.KSubset(torch.zeros(2, 4), 2, validate_args=False)
    with pytest.raises(ValueError, match=r"KSubset: value must be masks of the logits' size, .*4\), got \(2, 3\)"):
        q.log_prob(torch.ones(2, 3))
