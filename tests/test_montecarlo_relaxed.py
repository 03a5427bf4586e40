"""Estimators that relax the sample, against quadrature of their noise, enumeration, finite differences and torch's own.

Statistical tests compare a mean of n independent draws with its expected value within 4.5 standard errors (one miss in
150,000 if the code is right), under the seed that the fixture sets; each also checks that the errors are small enough
to notice a wrong factor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, OneHotCategorical
from torch.func import grad, vmap

import hardgrad as hg
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.relaxed import agreeing

mc = hg.montecarlo
Objective = Callable[[Tensor], Tensor]

WEIGHT = torch.tensor([0.7, -1.3, 0.4, 1.1], dtype=torch.float64)


def cost(b: Tensor) -> Tensor:
    """Nonlinear in every unit, with cross terms; any number of units up to four."""
    w = WEIGHT[: b.shape[-1]].to(b.dtype)
    return (b * w).sum(-1).sub(0.3).square() + (b * w.flip(0)).sum(-1).sin() + (b**3 * w).sum(-1)


def slope(b: Tensor) -> Tensor:
    """The gradient of ``cost``, shape of ``b``."""
    leaf = b.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(cost(leaf).sum(), leaf)
    return found


def bernoulli(logits: Tensor) -> Distribution:
    return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def one_hot(logits: Tensor) -> Distribution:
    return OneHotCategorical(logits=logits, validate_args=False)


KINDS = {"bernoulli": bernoulli, "one_hot": one_hot}


def network_of_fixed_weights() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return hg.approximators.elementwise(8)


HARD: dict[str, Callable[..., Tensor]] = {
    "gumbel": partial(hg.gumbel, temperature=0.6),
    "gumbel_rao": partial(hg.gumbel_rao, temperature=0.6, inner=4),
    "straight_through_estimator": mc.straight_through_estimator,
    "bridge_estimator": partial(mc.bridge_estimator, approximator=network_of_fixed_weights()),
}
ALL = HARD | {"soft": partial(hg.gumbel, temperature=0.6, hard=False)}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_hard = pytest.mark.parametrize("name", HARD)
every_one = pytest.mark.parametrize("name", ALL)


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(
    estimator: Callable[..., Tensor], kind: str, logits: Tensor, n: int, f: Objective = cost
) -> tuple[Tensor, Tensor]:
    """n independent estimates and their gradients, shapes (n,) and (n, *logits.shape)."""
    rows = logits.expand(n, *logits.shape).clone().requires_grad_()
    values = estimator(KINDS[kind](rows), f)
    values.sum().backward()
    return values.detach(), rows.grad


def assert_mean(samples: Tensor, expected: Tensor, precision: float = 0.03) -> None:
    """The mean of the rows is as expected within 4.5 standard errors, and those are ``precision`` of it at most."""
    error = samples.std(0) / math.sqrt(len(samples))
    assert error.norm() < precision * expected.norm(), f"too few draws: {error.norm() / expected.norm():.3f}"
    miss = (samples.mean(0) - expected).abs() / error.clamp(min=1e-12)
    assert (miss < 4.5).all(), f"off by {miss.max():.1f} standard errors"


def logistic_grid(n: int = 200_000) -> Tensor:
    """Logistic variates of equal weight: an integral over the noise is a mean over these."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (u / (1 - u)).log()


def bump(z: Tensor, temperature: float) -> Tensor:
    """The derivative of sigmoid(z / temperature) in z."""
    return 1 / (4 * temperature * (z / (2 * temperature)).cosh().square())


LOGIT = 0.8
TEMPERATURES = [0.3, 1.0, 2.5]


def one_unit(b: Tensor) -> Tensor:
    return (b - 0.3).pow(3).sum(-1) * 4 + b.sum(-1)


def one_unit_slope(b: Tensor) -> Tensor:
    return 12 * (b - 0.3).square() + 1


# Expectations by quadrature of the noise of a single unit


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao"])
def test_one_bernoulli_unit_against_quadrature(name: str, temperature: float) -> None:
    """n = 200,000. Gumbel-Rao has the same expectation: Rao-Blackwell keeps the mean."""
    z = LOGIT + logistic_grid()
    expected = (one_unit_slope((z > 0).double()) * bump(z, temperature)).mean()
    estimator = {"gumbel": hg.gumbel, "gumbel_rao": partial(hg.gumbel_rao, inner=3)}[name]
    logits = torch.full((1,), LOGIT, dtype=torch.float64)
    values, found = draws(partial(estimator, temperature=temperature), "bernoulli", logits, 200_000, one_unit)
    assert_mean(found, expected.view(1))
    assert_mean(values, one_unit((z > 0).double()[:, None]).mean(), 0.05)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_bernoulli_against_quadrature(temperature: float) -> None:
    """n = 200,000."""
    z = LOGIT + logistic_grid()
    soft = (z / temperature).sigmoid()
    logits = torch.full((1,), LOGIT, dtype=torch.float64)
    soft_gumbel = partial(hg.gumbel, temperature=temperature, hard=False)
    values, found = draws(soft_gumbel, "bernoulli", logits, 200_000, one_unit)
    assert_mean(found, (one_unit_slope(soft) * bump(z, temperature)).mean().view(1))
    assert_mean(values, one_unit(soft[:, None]).mean(), 0.05)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao"])
def test_two_outcomes_against_quadrature(name: str, temperature: float) -> None:
    """The difference of two Gumbel variates is logistic. n = 100,000."""
    z = -0.5 - 0.7 + logistic_grid()
    g = slope(torch.stack([z > 0, z <= 0], -1).double())
    first = ((g[:, 0] - g[:, 1]) * bump(z, temperature)).mean()
    estimator = {"gumbel": hg.gumbel, "gumbel_rao": partial(hg.gumbel_rao, inner=3)}[name]
    logits = torch.tensor([-0.5, 0.7], dtype=torch.float64)
    _, found = draws(partial(estimator, temperature=temperature), "one_hot", logits, 100_000)
    assert_mean(found, torch.stack([first, -first]))


@pytest.mark.parametrize(("temperature", "inner"), [(0.1, 1), (0.1, 5), (0.5, 20)])
def test_variance_of_gumbel_rao_against_quadrature(temperature: float, inner: int) -> None:
    """The part of the variance that the noise given the sample makes, divided by the inner draws. n = 200,000."""
    z = LOGIT + logistic_grid()
    d, jacobian = one_unit_slope((z > 0).double()), bump(z, temperature)
    mean, share = (d * jacobian).mean(), (z > 0).double().mean()
    between = within = torch.zeros((), dtype=torch.float64)
    for part, weight in ((z > 0, share), (z <= 0, 1 - share)):
        inside = d[part] * jacobian[part]
        between = between + weight * (inside.mean() - mean).square()
        within = within + weight * inside.var(correction=0)
    logits = torch.full((1,), LOGIT, dtype=torch.float64)
    rao = partial(hg.gumbel_rao, temperature=temperature, inner=inner)
    _, found = draws(rao, "bernoulli", logits, 200_000, one_unit)
    assert_mean((found[:, 0] - mean).square(), between + within / inner)
    _, plain = draws(partial(hg.gumbel, temperature=temperature), "bernoulli", logits, 200_000, one_unit)
    assert_mean((plain[:, 0] - mean).square(), between + within)
    assert inner == 1 or found.var() < 0.5 * plain.var()


def test_differentiating_the_conditional_noise_would_be_another_estimator() -> None:
    """The counter-example that the docstring of ``gumbel_rao`` speaks of, by quadrature."""
    temperature, free = 0.5, logistic_grid()
    z = LOGIT + free
    constant = (one_unit_slope((z > 0).double()) * bump(z, temperature)).mean()
    logit = torch.tensor(LOGIT, dtype=torch.float64, requires_grad=True)
    p = logit.sigmoid()
    differentiated = torch.zeros((), dtype=torch.float64)
    for outcome, sign, weight in ((1.0, 1, p), (0.0, -1, 1 - p)):
        scores = sign * ((free.exp() / (1 - weight)) + 1).log()
        (inside,) = torch.autograd.grad((scores / temperature).sigmoid().mean(), logit, retain_graph=True)
        differentiated += weight.item() * one_unit_slope(torch.tensor(outcome)) * inside
    assert not torch.isclose(differentiated, constant, rtol=0.1)


# The conditional noise


def test_scores_agree_with_their_sample() -> None:
    """n = 100,000, six outcomes of which one is all but impossible, in double and single precision."""
    for dtype in (torch.float64, torch.float32):
        logits = torch.tensor([2.0, -1.0, 0.3, 0.0, -9.0, 1.0], dtype=dtype).expand(100_000, 6)
        d = discrete(one_hot(logits), "test")
        b = d.draw(1, None)
        b[0, :6] = torch.eye(6, dtype=dtype)  # rare outcomes too
        scores = agreeing(d, b, d.noise(1, None))
        assert (scores.argmax(-1) == b.argmax(-1)).all()
        assert scores.isfinite().all()
        d = discrete(bernoulli(logits), "test")
        b = d.draw(1, None)
        assert ((agreeing(d, b, d.noise(1, None)) > 0) == (b > 0)).all()


def test_conditional_noise_over_all_samples_is_free_noise() -> None:
    """Its distribution by Kolmogorov and Smirnov's distance, where 4.5 sigma is 2.5 / sqrt(n). n = 100,000."""
    n = 100_000
    logits = torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64).expand(n, 3)
    for kind, cdf in (("one_hot", lambda x: (-(-x).exp()).exp()), ("bernoulli", torch.sigmoid)):
        d = discrete(KINDS[kind](logits), "test")
        noise = (agreeing(d, d.draw(1, None), d.noise(1, None)) - d.logits)[0]
        steps = torch.arange(1, n + 1, dtype=torch.float64)[:, None] / n
        distance = (cdf(noise.sort(0).values) - steps).abs().max(0).values
        assert (distance < 2.5 / math.sqrt(n)).all(), distance
        correlation = torch.corrcoef(noise.T) - torch.eye(3, dtype=torch.float64)
        assert (correlation.abs() < 4.5 / math.sqrt(n)).all(), correlation


def test_conditional_noise_is_free_noise_that_happened_to_agree() -> None:
    """Moments given each outcome, against free draws of which those that agree are kept. n = 300,000 free draws."""
    logits = torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64).log_softmax(0)
    free = logits - torch.empty(300_000, 3, dtype=torch.float64).exponential_().log()
    for outcome in range(3):
        kept = free[free.argmax(-1) == outcome]
        b = torch.eye(3, dtype=torch.float64)[outcome].expand(len(kept), 3)
        d = discrete(one_hot(logits.expand(len(kept), 3)), "test")
        mine = agreeing(d, b, d.noise(1, None)[0])
        for moment in (lambda s: s, torch.square, lambda s: s * s.roll(1, -1)):
            theirs = moment(kept)
            error = ((theirs.var(0) + moment(mine).var(0)) / len(kept)).sqrt()
            assert ((moment(mine).mean(0) - theirs.mean(0)).abs() < 4.5 * error).all()


def test_gumbel_rao_of_many_outcomes_has_the_mean_of_gumbel_and_less_variance() -> None:
    """Four outcomes, temperature 0.1. n = 100,000 each."""
    logits = torch.tensor([-1.0, 0.5, 0.0, 1.2], dtype=torch.float64)
    _, plain = draws(partial(hg.gumbel, temperature=0.1), "one_hot", logits, 100_000)
    _, rao = draws(partial(hg.gumbel_rao, temperature=0.1, inner=10), "one_hot", logits, 100_000)
    error = ((plain.var(0) + rao.var(0)) / len(rao)).sqrt()
    assert error.norm() < 0.03 * plain.mean(0).norm()
    assert ((plain - rao).mean(0).abs() < 4.5 * error).all()
    assert (rao.var(0) < 0.5 * plain.var(0)).all()


# Straight-through, by enumeration


def test_straight_through_of_bernoulli_by_enumeration() -> None:
    """n = 100,000."""
    logits = torch.tensor([0.3, -1.2, 1.6], dtype=torch.float64)
    p = logits.sigmoid()
    expected = torch.zeros(3, dtype=torch.float64)
    for outcome in itertools.product((0.0, 1.0), repeat=3):
        b = torch.tensor(outcome, dtype=torch.float64)
        expected += torch.where(b > 0, p, 1 - p).prod() * slope(b) * p * (1 - p)
    _, found = draws(mc.straight_through_estimator, "bernoulli", logits, 100_000)
    assert_mean(found, expected)


def test_straight_through_of_one_hot_by_enumeration() -> None:
    """n = 100,000."""
    logits = torch.tensor([0.3, -1.2, 1.6, 0.0], dtype=torch.float64)
    p = logits.softmax(0)
    jacobian = p.diag() - p.outer(p)
    expected = sum(p[i] * jacobian @ slope(b) for i, b in enumerate(torch.eye(4, dtype=torch.float64)))
    _, found = draws(mc.straight_through_estimator, "one_hot", logits, 100_000)
    assert_mean(found, expected)


def test_straight_through_is_unbiased_where_f_is_linear_in_each_unit() -> None:
    """n = 100,000; a product of units."""
    logits = torch.tensor([0.3, -1.2, 1.6], dtype=torch.float64)
    p = logits.sigmoid()
    expected = p * (1 - p) * torch.stack([p[1] * p[2], p[0] * p[2], p[0] * p[1]])
    _, found = draws(mc.straight_through_estimator, "bernoulli", logits, 100_000, lambda b: b.prod(-1))
    assert_mean(found, expected)


# Against torch's own, with the noise made the same


@pytest.mark.parametrize("hard", [True, False])
def test_gumbel_is_torch_gumbel_softmax(monkeypatch: pytest.MonkeyPatch, hard: bool) -> None:
    logits = torch.randn(50, 4, dtype=torch.float64, requires_grad=True)
    u = discrete(one_hot(logits), "here").noise(1, seeded())
    monkeypatch.setattr(Tensor, "exponential_", lambda t: t.copy_(-torch.log1p(-u[0])))
    theirs = cost(nn.functional.gumbel_softmax(logits, tau=0.7, hard=hard))
    (expected,) = torch.autograd.grad(theirs.sum(), logits)
    mine = hg.gumbel(one_hot(logits), cost, temperature=0.7, hard=hard, generator=seeded())
    mine.sum().backward()
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(logits.grad, expected)


def test_soft_bernoulli_is_torch_relaxed_bernoulli(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    u = discrete(bernoulli(logits), "here").noise(1, seeded())
    mine = hg.gumbel(bernoulli(logits), cost, temperature=0.7, hard=False, generator=seeded())
    (found,) = torch.autograd.grad(mine.sum(), logits)
    # The sign of the logistic noise is a convention: ours makes a sample the rarer outcome where u is small.
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.where(logits > 0, u[0], 1 - u[0]))
    relaxed = torch.distributions.RelaxedBernoulli(torch.tensor(0.7, dtype=torch.float64), logits=logits)
    theirs = cost(relaxed.rsample())
    theirs.sum().backward()
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(found, logits.grad)


@every_kind
def test_soft_gumbel_against_finite_differences_to_second_order(kind: str) -> None:
    """The noise held fixed by the generator's seed."""

    def relaxed(logits: Tensor) -> Tensor:
        return hg.gumbel(KINDS[kind](logits), cost, temperature=0.8, hard=False, samples=2, generator=seeded())

    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relaxed, logits)
    assert torch.autograd.gradgradcheck(relaxed, logits)


# The bridge over a sampler


def test_bridge_lends_the_jacobian_of_its_approximator() -> None:
    """Every factor by itself: the drawn b, f's gradient there, the network's Jacobian, that of the probabilities."""
    network = hg.approximators.mlp(3, 3, hidden=(8,)).double()
    for kind, jacobian_of in (
        ("bernoulli", lambda p: (p * (1 - p)).diag()),
        ("one_hot", lambda p: p.diag() - p.outer(p)),
    ):
        logits, seen = torch.randn(5, 3, dtype=torch.float64, requires_grad=True), []
        mc.bridge_estimator(
            KINDS[kind](logits), lambda b, seen=seen: (seen.append(b.detach()), cost(b))[1], network
        ).sum().backward()
        probs = logits.detach().sigmoid() if kind == "bernoulli" else logits.detach().softmax(-1)
        for row, p in enumerate(probs):
            lent_jacobian = torch.autograd.functional.jacobian(network, p)
            expected = slope(seen[0][row]) @ lent_jacobian @ jacobian_of(p)
            torch.testing.assert_close(logits.grad[row], expected)


def test_bridge_keeps_task_and_penalty_apart() -> None:
    network = hg.approximators.mlp(3, 3, hidden=(8,)).double()
    logits, seen = torch.randn(5, 3, dtype=torch.float64, requires_grad=True), []

    def watched(b: Tensor) -> Tensor:
        seen.append(b.detach())
        return cost(b)

    mc.bridge_estimator(bernoulli(logits), watched, network, weight=0.0).sum().backward()
    assert all(w.grad.abs().sum() == 0 for w in network.parameters())
    logits.grad = None
    network.zero_grad()
    # The task's loss is multiplied by zero: what is left is the penalty's, whole.
    (mc.bridge_estimator(bernoulli(logits), watched, network, weight=3.0, samples=4) * 0).sum().backward()
    assert logits.grad.abs().sum() == 0
    found = [w.grad.clone() for w in network.parameters()]
    network.zero_grad()
    b = seen[-1]
    assert b.shape == (4, 5, 3)
    (3 * (network(logits.detach().sigmoid()) - b).square().sum() / 5 / 4).backward()
    for mine, w in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(mine, w.grad)


def test_bridge_hands_its_penalty_to_an_open_scope() -> None:
    network, seen = hg.approximators.elementwise(4).double(), []
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    with hg.penalties() as bag:
        loss = mc.bridge_estimator(bernoulli(logits), lambda b: (seen.append(b.detach()), cost(b))[1], network)
    expected = 10 * (network(logits.sigmoid()) - seen[0]).square().sum() / 5
    torch.testing.assert_close(bag.total(), expected)
    loss.sum().backward()
    assert all(w.grad is None or w.grad.abs().sum() == 0 for w in network.parameters())


def test_bridge_at_its_approximators_optimum() -> None:
    """The best imitation is the mean of a draw, so a trained one lends nearly the exact gradient of a linear f."""
    network = hg.approximators.elementwise(16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    weight = torch.tensor([1.0, -2.0, 0.5])
    for _ in range(400):
        optimizer.zero_grad()
        q = bernoulli(6 * torch.rand(256, 3) - 3)
        # Nobody asks for q's gradient here; the approximator learns all the same.
        mc.bridge_estimator(q, lambda b: (b * weight).sum(-1), network, samples=4).sum().backward()
        optimizer.step()
    logits = (6 * torch.rand(200, 3) - 3).requires_grad_()
    mc.bridge_estimator(bernoulli(logits), lambda b: (b * weight).sum(-1), network).sum().backward()
    p = logits.detach().sigmoid()
    exact = weight * p * (1 - p)
    assert nn.functional.cosine_similarity(logits.grad.flatten(), exact.flatten(), dim=0) > 0.99
    assert 0.9 < logits.grad.norm() / exact.norm() < 1.1
    assert (network(p) - p).abs().mean() < 0.03


def test_bridge_approximator_does_not_run_under_no_grad() -> None:
    with torch.no_grad():
        value = mc.bridge_estimator(bernoulli(torch.zeros(5, 3)), cost, nn.Linear(99, 99))
    assert value.shape == (5,)


@pytest.mark.parametrize("q_dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_bridge_of_mixed_precision(q_dtype: torch.dtype, dtype: torch.dtype) -> None:
    logits, network = torch.zeros(4, 300, dtype=q_dtype, requires_grad=True), nn.Linear(300, 300).to(dtype)
    nn.init.constant_(network.bias, 30)
    with hg.penalties() as bag:
        loss = mc.bridge_estimator(bernoulli(logits), lambda b: b.sum(-1), network)
    assert bag.total().item() == pytest.approx(10 * 300 * 29.5**2, rel=0.05)  # far above fp16's 65,504
    (loss.sum() + bag.total()).backward()
    assert logits.grad.dtype == q_dtype
    assert all(w.grad.isfinite().all() for w in network.parameters())


def test_bridge_names_a_wrong_approximator() -> None:
    q = bernoulli(torch.zeros(5, 3, requires_grad=True))
    with pytest.raises(
        ValueError, match=r"bridge_estimator: approximator must return.*\(5, 3\), got \(5, 2\); .*elementwise"
    ):
        mc.bridge_estimator(q, cost, nn.Linear(3, 2))
    with pytest.raises(
        TypeError, match=r"bridge_estimator: approximator must be an nn.Module, got function; .*elementwise"
    ):
        mc.bridge_estimator(q, cost, lambda p: p)
    with pytest.raises(ValueError, match="bridge_estimator: weight must be at least 0, got -1"):
        mc.bridge_estimator(q, cost, nn.Linear(3, 3), weight=-1)


# Annealed temperature


def test_annealed_schedule() -> None:
    tau = mc.Annealed(start=2.0, end=0.5, steps=30)
    for t in range(40):
        assert tau.temperature.item() == pytest.approx(max(0.5, 2.0 * math.exp(-t * math.log(4) / 30)), rel=1e-6)
        tau.step()
    rising = mc.Annealed(start=1.0, end=4.0, steps=2)
    rising.step()
    assert rising.temperature.item() == pytest.approx(2.0)
    published = mc.Annealed(1.0, 0.5, 6931)  # r = 1e-4
    for _ in range(500):
        published.step()
    assert published.temperature.item() == pytest.approx(math.exp(-1e-4 * 500), rel=1e-5)


def test_annealed_goes_on_after_loading_and_in_half_precision() -> None:
    tau, same = mc.Annealed(1.0, 0.1, 1000), mc.Annealed(1.0, 0.1, 1000)
    for _ in range(7):
        tau.step()
    same.load_state_dict(tau.state_dict())
    model = nn.ModuleDict({"tau": mc.Annealed(1.0, 0.1, 1000)}).half()
    model["tau"].load_state_dict(tau.state_dict())
    for _ in range(100):
        tau.step()
        same.step()
        model["tau"].step()
    assert same.temperature == tau.temperature
    # Each step is less than half precision can tell apart; they count all the same.
    assert model["tau"].temperature.item() == pytest.approx(tau.temperature.item(), rel=1e-3)


@every_kind
@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao", "reinmax"])
def test_annealed_is_the_number_it_holds(kind: str, name: str) -> None:
    estimator = getattr(hg, name)
    tau = mc.Annealed(4.0, 1.0, 2)
    tau.step()
    found = []
    for temperature in (2.0, tau):
        logits = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3).requires_grad_()
        loss = estimator(KINDS[kind](logits), cost, temperature=temperature, generator=seeded())
        if temperature is tau:
            tau.step()  # the schedule may move on before backward
        loss.sum().backward()
        found.append((loss.detach(), logits.grad))
    torch.testing.assert_close(found[0], found[1])


def test_annealed_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="Annealed: start must be above 0 and finite, got 0"):
        mc.Annealed(0, 1, 10)
    with pytest.raises(ValueError, match="Annealed: end must be above 0 and finite, got -1"):
        mc.Annealed(1, -1, 10)
    with pytest.raises(ValueError, match="Annealed: steps must be at least 1, got 0"):
        mc.Annealed(1, 0.5, 0)
    with pytest.raises(ValueError, match=r"reinmax: temperature must stay at least 1, got an Annealed.*reaches 0\.5"):
        hg.reinmax(bernoulli(torch.zeros(2, 3)), cost, temperature=mc.Annealed(1, 0.5, 10))


# What all of them keep


@every_kind
@every_hard
def test_value_is_f_at_hard_samples_the_same_from_one_seed(name: str, kind: str) -> None:
    """One seed gives every estimator the same samples, with or without a gradient."""
    logits, seen = torch.randn(6, 3, dtype=torch.float64), []

    def watched(b: Tensor) -> Tensor:
        seen.append(b.detach())
        return cost(b)

    values = [
        estimator(KINDS[kind](logits.clone().requires_grad_(asks)), watched, samples=5, generator=seeded())
        for estimator, asks in ((HARD[name], True), (HARD[name], False), (mc.straight_through_estimator, True))
    ]
    assert len(seen) == 3  # f is called once
    assert seen[0].shape == (5, 6, 3)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    assert kind == "bernoulli" or (seen[0].sum(-1) == 1).all()
    assert torch.equal(values[0], cost(seen[0]).mean(0))
    assert all(torch.equal(value, values[0]) for value in values)


@every_kind
@every_one
def test_no_grad_gives_the_value_alone(name: str, kind: str) -> None:
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    with_gradient = ALL[name](KINDS[kind](logits), cost, generator=seeded())
    with torch.no_grad():
        without = ALL[name](KINDS[kind](logits), lambda b: cost(b.detach()), generator=seeded())
    assert torch.equal(with_gradient, without)
    assert not without.requires_grad


@every_kind
def test_gumbel_rao_draws_no_inner_noise_that_nobody_asks_for(kind: str) -> None:
    """Under no_grad, and for a frozen q, the generator moves by the samples alone."""
    q, generators = KINDS[kind](torch.zeros(6, 3)), [seeded() for _ in range(2)]
    hg.gumbel_rao(q, cost, samples=2, generator=generators[0])
    mc.straight_through_estimator(q, cost, samples=2, generator=generators[1])
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


@every_kind
@every_one
def test_fs_own_parameters_get_their_ordinary_gradient(name: str, kind: str) -> None:
    scale, seen = torch.tensor(1.5, dtype=torch.float64, requires_grad=True), []
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def scaled(b: Tensor) -> Tensor:
        seen.append(b.detach())
        return scale.sin() * cost(b)

    ALL[name](KINDS[kind](logits), scaled, samples=3).sum().backward()
    torch.testing.assert_close(scale.grad, scale.detach().cos() * cost(seen[0]).mean(0).sum())


@every_kind
@every_one
def test_probabilities_and_logits_are_one_distribution(name: str, kind: str) -> None:
    logits = torch.randn(6, 3, dtype=torch.float64)
    found = []
    for given in ("logits", "probs"):
        leaf = logits.clone().requires_grad_()
        parameter = leaf if given == "logits" else leaf.sigmoid() if kind == "bernoulli" else leaf.softmax(-1)
        q = (
            Independent(Bernoulli(**{given: parameter}), 1)
            if kind == "bernoulli"
            else OneHotCategorical(**{given: parameter})
        )
        ALL[name](q, cost, samples=4, generator=seeded()).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(found[0], found[1])


@every_one
def test_several_units_of_several_outcomes(name: str) -> None:
    """Batch (2, 5), an event of two units: each row's gradient is its own, every unit has one."""
    logits = torch.randn(2, 5, 2, 3, requires_grad=True)
    q = Independent(OneHotCategorical(logits=logits), 1)
    loss = ALL[name](q, lambda b: (b[..., 0, :] * b[..., 1, :].flip(-1)).sum(-1).sub(0.2).square(), samples=3)
    assert loss.shape == (2, 5)
    loss[1, 2].backward()
    touched = logits.grad.abs().sum((-1, -2)) > 0
    assert touched.nonzero().tolist() == [[1, 2]]


@every_kind
@every_one
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extremes_are_finite(name: str, kind: str, dtype: torch.dtype) -> None:
    """Logits of 100, and at a temperature of a hundredth; an outcome masked by -inf has no gradient at all."""
    options = {} if name in ("straight_through_estimator", "bridge_estimator") else {"temperature": 0.01}
    logits = torch.tensor(
        [[100.0, -100, 0], [-100, -100, 100], [-math.inf, 0, 1], [-math.inf, 0.0, -math.inf]], dtype=dtype
    ).requires_grad_()
    loss = ALL[name](KINDS[kind](logits), cost, samples=64, **options)
    loss.sum().backward()
    assert loss.dtype == logits.grad.dtype == dtype
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    assert (logits.grad[~logits.detach().isfinite()] == 0).all()


@every_kind
@every_one
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3,), (2, 2)])
def test_any_batch_shape(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, shape: tuple[int, ...]) -> None:
    # torch 2.13 checks an empty OneHotCategorical by a reshape that fails, whatever it is told about validation.
    monkeypatch.setattr(Distribution, "_validate_args", False)
    logits = torch.randn(*shape, 3, requires_grad=True)
    for samples in (1, 2):
        loss = ALL[name](KINDS[kind](logits), cost, samples=samples)
        assert loss.shape == shape
        loss.sum().backward()
    assert logits.grad.shape == (*shape, 3)
    assert logits.grad.isfinite().all()


@every_one
def test_an_event_without_dimensions(name: str) -> None:
    logits = torch.randn(5, requires_grad=True)
    loss = ALL[name](Bernoulli(logits=logits), lambda b: (b - 0.3) ** 3, samples=2)
    loss.sum().backward()
    assert loss.shape == logits.grad.shape == (5,)


@every_hard
def test_noise_of_half_precision_logits_is_single(name: str) -> None:
    """fp16 uniforms are multiples of 1/2048, four times this probability. n = 1,000,000."""
    n = 1_000_000
    logits = torch.full((n, 1), -9.0, dtype=torch.float16)
    share = HARD[name](bernoulli(logits), lambda b: b.float().sum(-1)).mean().item()
    p = 1 / (1 + math.exp(9))
    assert abs(share - p) < 4.5 * math.sqrt(p / n)


@every_kind
@every_one
def test_functorch_agrees_with_eager(name: str, kind: str) -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def loss(t: Tensor) -> Tensor:
        return ALL[name](KINDS[kind](t), cost, samples=3).sum()

    torch.manual_seed(3)
    loss(logits).backward()
    torch.manual_seed(3)
    torch.testing.assert_close(grad(loss)(logits.detach()), logits.grad)


@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao"])
def test_vmap_of_grad_draws_afresh_for_each_row(name: str) -> None:
    """Against the same quadrature. n = 100,000."""
    z = LOGIT + logistic_grid()
    expected = (one_unit_slope((z > 0).double()) * bump(z, 0.6)).mean()

    def loss(t: Tensor) -> Tensor:
        return HARD[name](bernoulli(t), one_unit)

    rows = torch.full((100_000, 1), LOGIT, dtype=torch.float64)
    assert_mean(vmap(grad(loss), randomness="different")(rows), expected.view(1))


@every_kind
@every_one
def test_vmap_of_grad_runs_for_all(name: str, kind: str) -> None:
    def loss(t: Tensor) -> Tensor:
        return ALL[name](KINDS[kind](t), cost, samples=2).sum()

    found = vmap(grad(loss), randomness="different")(torch.zeros(64, 2, 3))
    assert found.isfinite().all()
    assert len(found.flatten(1).unique(dim=0)) > 8  # not one draw for all


@every_kind
@every_one
def test_compiled_whole_agrees_with_eager(monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    # The compiler does not trace torch's checks of a distribution's arguments, which a OneHotCategorical always makes.
    monkeypatch.setattr(Distribution, "_validate_args", False)
    torch.compiler.reset()

    def loss(t: Tensor) -> Tensor:
        return ALL[name](KINDS[kind](t), cost, samples=3).sum()

    found = []
    for call in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(3)
        logits = torch.linspace(-1, 1, 12).view(4, 3).requires_grad_()
        value = call(logits)
        value.backward()
        found.append((value.detach(), logits.grad))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao", "reinmax"])
def test_an_annealed_step_does_not_recompile(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Distribution, "_validate_args", False)  # as above
    torch.compiler.reset()
    tau, graphs, found = mc.Annealed(4.0, 1.0, 5), [], []

    def count(module: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(module)
        return module

    def loss(t: Tensor, temperature: mc.Annealed) -> Tensor:
        return getattr(hg, name)(one_hot(t), cost, temperature=temperature).sum()

    compiled = torch.compile(loss, fullgraph=True, backend=count)
    for _ in range(4):
        logits = torch.linspace(-1, 1, 12).view(4, 3).requires_grad_()
        torch.manual_seed(3)
        compiled(logits, tau).backward()
        found.append(logits.grad)
        torch.manual_seed(3)
        (eager,) = torch.autograd.grad(loss(logits, tau), logits)
        torch.testing.assert_close(logits.grad, eager)
        tau.step()
    assert len(graphs) == 1
    assert not torch.allclose(found[0], found[3], rtol=0.01)


# Mistakes


@every_hard
def test_second_derivatives_are_refused(name: str) -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = HARD[name](bernoulli(logits), cost).sum()
    (first,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{name}: its surrogate gradient has no derivative of its own"):
        first.sum().backward()


@every_one
def test_a_black_box_is_refused(name: str) -> None:
    q, label = bernoulli(torch.zeros(4, 3, requires_grad=True)), "gumbel" if name == "soft" else name
    for box in (lambda b: cost(b.detach()), lambda b: torch.from_numpy(b.numpy()).sum(-1)):
        with pytest.raises(ValueError, match=f"{label}: f must be differentiable.*black box.*score_function"):
            ALL[name](q, box)


@every_one
def test_other_distributions_are_refused(name: str) -> None:
    label = "gumbel" if name == "soft" else name
    with pytest.raises(ValueError, match=f"{label}: q must be .*got Categorical; .*use OneHotCategorical"):
        ALL[name](Categorical(logits=torch.zeros(4, 3)), cost)
    with pytest.raises(ValueError, match=f"{label}: q must be .*got Normal; use hardgrad.score_function"):
        ALL[name](Normal(torch.zeros(4), 1.0), cost)


@every_one
def test_counts_below_one_are_refused(name: str) -> None:
    label = "gumbel" if name == "soft" else name
    with pytest.raises(ValueError, match=f"{label}: samples must be at least 1, got 0"):
        ALL[name](bernoulli(torch.zeros(4, 3)), cost, samples=0)
    with pytest.raises(ValueError, match="gumbel_rao: inner must be at least 1, got 0"):
        hg.gumbel_rao(bernoulli(torch.zeros(4, 3)), cost, inner=0)


@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao"])
@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_a_bad_temperature_is_named(name: str, temperature: float) -> None:
    with pytest.raises(
        ValueError, match=f"{name}: temperature must be above 0 and finite, got {temperature}; .*Annealed"
    ):
        getattr(hg, name)(bernoulli(torch.zeros(4, 3)), cost, temperature=temperature)


def test_a_tensor_temperature_is_named() -> None:
    with pytest.raises(ValueError, match=r"gumbel: temperature must be a number above 0 or a .*Annealed, got a tensor"):
        hg.gumbel(bernoulli(torch.zeros(4, 3)), cost, temperature=torch.tensor(1.0))


def test_two_temperatures_that_are_one() -> None:
    logits = torch.randn(50, 3, dtype=torch.float64).requires_grad_()
    found = []
    for options in ({}, {"backward_temperature": 0.6}, {"backward_temperature": mc.Annealed(0.6, 0.1, 9)}):
        torch.manual_seed(0)
        loss = hg.gumbel(bernoulli(logits), cost, temperature=0.6, hard=False, **options)
        found.append([loss.detach(), *torch.autograd.grad(loss.sum(), logits)])
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], rtol=1e-6, atol=1e-6)  # its buffer is in single precision


def test_a_hard_sample_has_no_temperature_of_its_own() -> None:
    with pytest.raises(
        ValueError, match=r"gumbel: backward_temperature must be None beside hard=True, .*got 0\.5; give"
    ):
        hg.gumbel(bernoulli(torch.zeros(2, 3)), cost, backward_temperature=0.5)
    with pytest.raises(ValueError, match=r"gumbel: backward_temperature must be above 0 and finite, got -1"):
        hg.gumbel(bernoulli(torch.zeros(2, 3)), cost, hard=False, backward_temperature=-1.0)


def test_gapped_takes_a_gap_of_at_least_nothing() -> None:
    for gap in (-0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"gapped: gap must be at least 0( and finite)?, got .*; 1.0 is usual"):
            hg.gapped(bernoulli(torch.zeros(2, 3)), cost, gap=gap)
