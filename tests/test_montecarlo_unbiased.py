"""DisARM, ARMS, REBAR and RELAX against enumeration written here, and the laws they are built from.

Statistical tests: double precision, seed 0 (conftest), N independent gradients from one batch of N copies; every entry
within 4.5 standard errors of the truth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.montecarlo._arms import draw_apart, undo_correlation
from hardgrad.montecarlo.control_variate import draw_scores, remainder_of
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.relaxed import agreeing
from mc_rows import (
    BINARY,
    F64,
    FAMILY,
    LOGITS,
    OBJECTIVES,
    THETA,
    Call,
    Family,
    bernoulli,
    bernoulli_probs,
    central_difference,
    expectation,
    general,
    network,
    one_hot,
    one_hot_probs,
    outcomes,
    second_layer,
    top,
)

N = 10_000
ALL = [*((name, "Bernoulli") for name in (*general(), *BINARY)), *((name, "one-hot") for name in general())]


@cache
def truths(kind: str, objective: str) -> tuple[Tensor, Tensor, Tensor]:
    """The expectation of each row, its gradient with respect to the logits and with respect to theta."""
    values = torch.stack([expectation(row, THETA, kind, objective) for row in LOGITS])
    by_logits = [central_difference(lambda x: expectation(x, THETA, kind, objective), row) for row in LOGITS]
    by_theta = [central_difference(lambda t, row=row: expectation(row, t, kind, objective), THETA) for row in LOGITS]
    return values, torch.stack(by_logits), torch.stack(by_theta)


def draws(family: Family, objective: str, call: Call, inner: Call, n: int = N) -> tuple[Tensor, ...]:
    """Values and gradients of n copies of the rows; theta is copied too, so that each row has a gradient of its own."""
    logits = LOGITS.repeat(n, 1, 1).requires_grad_()
    theta = THETA.repeat(n, len(LOGITS), 1).requires_grad_()

    def f(b: Tensor) -> Tensor:
        if objective == "two layers":
            return inner(bernoulli(second_layer(b, theta)), lambda c: top(b, c))
        return OBJECTIVES[objective](b, theta)

    value = call(family(logits), f)
    by_logits, by_theta = torch.autograd.grad(value.sum(), [logits, theta], materialize_grads=True)
    return value.detach(), by_logits, by_theta


def assert_unbiased(found: Tensor, truth: Tensor) -> None:
    error = found.std(0) / math.sqrt(len(found))
    deviation = (found.mean(0) - truth).abs() / (error + 1e-9)
    assert deviation.max() < 4.5, f"{deviation.max():.1f} standard errors from {truth}, got {found.mean(0)}"


@pytest.mark.parametrize("objective", [*OBJECTIVES, "two layers"])
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_unbiased(name: str, kind: str, objective: str) -> None:
    outer, inner = ((general(hold) | BINARY)[name] for hold in (objective == "two layers", False))
    found = draws(FAMILY[kind], objective, outer, inner)
    for one, truth in zip(found, truths(kind, objective), strict=True):
        assert_unbiased(one, truth)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_unbiased_where_q_is_given_by_probabilities(name: str, kind: str) -> None:
    call = (general() | BINARY)[name]
    found = draws(bernoulli_probs if kind == "Bernoulli" else one_hot_probs, "exponential", call, call)
    for one, truth in zip(found, truths(kind, "exponential"), strict=True):
        assert_unbiased(one, truth)


def variance(call: Call, family: Family, f: Callable[[Tensor], Tensor], logits: Tensor, n: int = 20_000) -> float:
    copies = logits.repeat(n, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(call(family(copies), f).sum(), copies)
    return gradient.var(0).sum().item()


def test_antithetic_draws_are_calmer_than_as_many_independent_ones() -> None:
    for row, objective in itertools.product(LOGITS, ("linear", "quadratic", "exponential", "cross terms")):
        f = lambda b, name=objective: 3 + OBJECTIVES[name](b, THETA)  # noqa: E731  # as a user writes it
        pair, four = variance(hg.disarm, bernoulli, f, row), variance(hg.arms, bernoulli, f, row)
        assert pair < variance(partial(hg.score_function, samples=2), bernoulli, f, row)
        left_out = partial(hg.score_function, baseline="leave_one_out")
        assert pair < variance(partial(left_out, samples=2), bernoulli, f, row)
        assert four < variance(partial(left_out, samples=4), bernoulli, f, row)


@pytest.mark.parametrize("family", [bernoulli, one_hot])
def test_a_trained_control_takes_the_noise_out(family: Family) -> None:
    """(b - 0.499)^2: the score function's noise drowns a gradient of 0.0005."""
    f = lambda b: (b[..., :1] - 0.499).square().sum(-1)  # noqa: E731  # as a user writes it
    control = network()
    optimizer = torch.optim.Adam(control.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        hg.relax(family(torch.zeros(64, 3, **F64).requires_grad_()), f, control).mean().backward()
        optimizer.step()
    calm = variance(lambda q, f: hg.relax(q, f, control), family, f, torch.zeros(3, **F64))
    assert calm < 0.02 * variance(hg.score_function, family, f, torch.zeros(3, **F64))


def test_a_learned_temperature_and_scale_take_noise_out() -> None:
    f = lambda b: OBJECTIVES["quadratic"](b, THETA)  # noqa: E731  # as a user writes it
    control = hg.montecarlo.RebarControl(temperature=0.1, scale=0.2).double()
    before = variance(lambda q, f: hg.rebar(q, f, control), bernoulli, f, LOGITS[0])
    optimizer = torch.optim.Adam(control.parameters(), 3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        hg.rebar(bernoulli(LOGITS[0].expand(64, 3).clone().requires_grad_()), f, control).mean().backward()
        optimizer.step()
    assert variance(lambda q, f: hg.rebar(q, f, control), bernoulli, f, LOGITS[0]) < 0.8 * before


# ARMS: the copula


@pytest.mark.parametrize("samples", [2, 3, 4, 9])
def test_arms_draws_have_the_law_they_are_corrected_for(samples: int) -> None:
    p = torch.tensor([0.02, 0.3, 0.5, 0.7, 0.98], **F64)
    n = 40_000
    rarer = torch.minimum(p, 1 - p)
    b = draw_apart(torch.rand(samples, n, 5, **F64), torch.where(p < 0.5, -1.0, 1.0).double(), rarer)

    def assert_share(found: Tensor, truth: Tensor) -> None:
        assert ((found.mean(0) - truth).abs() <= 4.5 * (truth * (1 - truth) / n).sqrt()).all()

    for draw in b:
        assert_share(draw, p)
    share = (2 * rarer ** (1 / (samples - 1)) - 1).clamp(min=0) ** (samples - 1)
    both = torch.where(p <= 0.5, share, 1 - 2 * rarer + share)
    for i, j in itertools.combinations(range(samples), 2):
        assert_share(b[i] * b[j], both)
    correlation = (both - p * p) / (p * (1 - p))
    torch.testing.assert_close(undo_correlation(rarer, samples), 1 / (1 - correlation))


def test_two_samples_of_arms_are_disarm() -> None:
    seen = []
    logits = LOGITS.clone().requires_grad_()
    hg.arms(
        bernoulli(logits), lambda b: seen.append(b) or OBJECTIVES["exponential"](b, THETA), samples=2
    ).sum().backward()
    (b, twin), p = seen[0], LOGITS.sigmoid()
    difference = OBJECTIVES["exponential"](b, THETA) - OBJECTIVES["exponential"](twin, THETA)
    closed = difference.unsqueeze(-1) / 2 * (b - twin) * torch.maximum(p, 1 - p)
    torch.testing.assert_close(logits.grad, closed)
    assert ((b + twin == 1) | (b == (p > 0.5))).all()  # never both the rarer outcome


def test_the_correction_keeps_its_digits() -> None:
    p = torch.tensor([0.0, 1e-30, 1e-6, 0.1, 0.5, 0.75, 1.0])
    for samples in (2, 5, 50, 5000):
        weight, exact = (undo_correlation(torch.minimum(q, 1 - q), samples) for q in (p, p.double()))
        assert ((weight >= 0.5) & (weight <= 1)).all()
        torch.testing.assert_close(weight.double(), exact, rtol=1e-6, atol=1e-6)


# Scores drawn anew to agree with a sample


@pytest.mark.parametrize(("kind", "row"), list(itertools.product(FAMILY, range(len(LOGITS)))))
def test_agreeing_scores_have_the_law_of_scores_and_agree(kind: str, row: int) -> None:
    n = 100_000
    d = discrete(FAMILY[kind](LOGITS[row].expand(n, 3)), "rebar")
    scores = draw_scores(d, 1, False, None)
    z, again = scores.z
    assert not torch.equal(z, again)
    logits = LOGITS[row] if d.binary else LOGITS[row].log_softmax(-1)
    for scored in (z, again):
        distance = scored - logits
        cumulative = distance.sigmoid() if d.binary else (-(-distance).exp()).exp()
        place = torch.arange(1, n + 1, **F64).unsqueeze(-1) / n
        # Kolmogorov and Smirnov: beyond 2.5 with a probability of 2 exp(-2 * 2.5^2), that of 4.5 standard errors
        assert (cumulative.sort(0).values - place).abs().max() * math.sqrt(n) < 2.5
        hard = (scored > 0).double() if d.binary else nn.functional.one_hot(scored.argmax(-1), 3)
        assert torch.equal(scores.b[0], hard.double())


@pytest.mark.parametrize("kind", FAMILY)
def test_the_slope_of_agreeing_scores(kind: str) -> None:
    """Against central differences with the noise and the sample held fixed."""
    u = torch.rand(7, 3, **F64)
    for row, b in ((row, b) for row in LOGITS for b, _ in outcomes(LOGITS[0], kind)):

        def again(logits: Tensor, b: Tensor = b) -> Tensor:
            return agreeing(discrete(FAMILY[kind](logits), "rebar"), b, u)

        numeric = torch.stack([again(row + h) - again(row - h) for h in 1e-5 * torch.eye(3, **F64)], -1) / 2e-5
        d = discrete(FAMILY[kind](row), "rebar")
        along = 1 - remainder_of(d, b - d.probs, again(row))
        # One-hot: along log-probabilities, which the softmax spreads over the logits.
        spread = torch.eye(3, **F64) - (0 if kind == "Bernoulli" else row.softmax(-1))
        # Softplus is the identity beyond 20, which rounds a slope by up to 2e-9.
        torch.testing.assert_close(numeric, along.unsqueeze(-1) * spread, rtol=1e-6, atol=1e-6)
