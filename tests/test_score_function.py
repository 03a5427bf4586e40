"""The score function: its formula, its baselines and who learns from them, continuous q, second derivatives."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Exponential, Independent, Normal, OneHotCategorical, Poisson

import hardgrad as hg
from enumeration import Problem, deviation, outcomes, standard_error, truth
from mc_bank import CASES, VARIABLES

SIGMA = 4.5
THREE = next(v for v in VARIABLES if v.name == "3 Bernoullis")


def literal(logits: Tensor, b: Tensor, advantage: Tensor) -> Tensor:
    """The mean over samples of an advantage times the score, by plain autograd."""
    leaf = logits.detach().clone().requires_grad_()
    log_prob = Independent(Bernoulli(logits=leaf), 1).log_prob(b)
    return torch.autograd.grad((advantage * log_prob).mean(0).sum(), leaf)[0]


class Recorder:
    """An objective with a large constant, which keeps what it was shown."""

    def __init__(self) -> None:
        self.b = torch.empty(0)

    def __call__(self, b: Tensor) -> Tensor:
        self.b = b.detach() if b.ndim == 3 else b.detach().unsqueeze(0)
        return self.of(b)

    def of(self, b: Tensor) -> Tensor:
        return (b * torch.tensor([1.0, -2.0, 0.5], dtype=b.dtype)).sum(-1).exp() + 3


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_the_formula_without_a_baseline(samples: int) -> None:
    logits, f = THREE.rows(4), Recorder()
    value = hg.score_function(THREE.distribution(logits), f, samples=samples)
    value.sum().backward()
    torch.testing.assert_close(value, f.of(f.b).mean(0))
    torch.testing.assert_close(logits.grad, literal(logits, f.b, f.of(f.b)))


@pytest.mark.parametrize("samples", [2, 5])
def test_leave_one_out_is_the_mean_of_the_others(samples: int) -> None:
    logits, f = THREE.rows(4), Recorder()
    hg.score_function(THREE.distribution(logits), f, samples=samples, baseline="leave_one_out").sum().backward()
    values = f.of(f.b)
    others = torch.stack([torch.cat([values[:k], values[k + 1 :]]).mean(0) for k in range(samples)])
    torch.testing.assert_close(logits.grad, literal(logits, f.b, values - others))


@pytest.mark.parametrize("baseline", [None, "leave_one_out"])
def test_variance_by_enumeration(baseline: str | None) -> None:
    """Of one draw without a baseline, of pairs with one left out: over every draw, or pair of draws."""
    f, samples, rows = Recorder(), 2, 60_000
    logits, row = THREE.rows(rows), THREE.rows()
    q = THREE.distribution(logits)
    (found,) = torch.autograd.grad(hg.score_function(q, f, samples=samples, baseline=baseline).sum(), logits)
    mean, square = torch.zeros(3).double(), torch.zeros(3).double()
    for first, chance in outcomes(THREE, row):
        for second, other in outcomes(THREE, row):
            pair = torch.stack([first, second])
            values = f.of(pair)
            advantage = values - values.flip(0) if baseline else values
            gradient = literal(row, pair, advantage)
            mean += (chance * other).detach() * gradient
            square += (chance * other).detach() * gradient.square()
    deviations = (found - mean).square()
    assert deviation(deviations, square - mean.square()).max() < SIGMA


def test_leave_one_out_in_half_precision_leaves_itself_out() -> None:
    """Where the sum over 64 samples is rounded to steps greater than what one of them may differ by."""
    logits = torch.zeros(2000, 3, dtype=torch.bfloat16, requires_grad=True)
    f = Recorder()
    q = Independent(Bernoulli(logits=logits), 1)
    hg.score_function(q, lambda b: 1000 + 4 * f(b), samples=64, baseline="leave_one_out").sum().backward()
    wide = logits.detach().float().requires_grad_()
    values = (1000 + 4 * f.of(f.b)).float()
    expected = literal(wide, f.b.float(), (values - values.mean(0)) * 64 / 63)
    torch.testing.assert_close(logits.grad.float(), expected, rtol=0.02, atol=0.05)


def test_moving_average_follows_its_recursion() -> None:
    average, f, logits = hg.montecarlo.MovingAverage(decay=0.8), Recorder(), THREE.rows(6)
    mean, weight = 0.0, 0.0
    for _ in range(4):
        logits.grad = None
        before = mean / weight if weight else 0.0
        assert average(logits).item() == pytest.approx(before, rel=1e-6)
        hg.score_function(THREE.distribution(logits), f, samples=2, baseline=average).sum().backward()
        torch.testing.assert_close(logits.grad, literal(logits, f.b, f.of(f.b) - before), rtol=1e-5, atol=1e-6)
        mean, weight = 0.8 * mean + 0.2 * f.of(f.b).mean().item(), 0.8 * weight + 0.2
    assert average.mean.item() == pytest.approx(mean)
    assert average.seen.item() == pytest.approx(1 - 0.8**4)


def test_moving_average_stands_still_where_it_says_so() -> None:
    average, f, logits = hg.montecarlo.MovingAverage(decay=0.5), Recorder(), THREE.rows(6)
    hg.score_function(THREE.distribution(logits), f, baseline=average)
    state = copy.deepcopy(average.state_dict())
    with torch.no_grad():
        hg.score_function(THREE.distribution(logits), f, baseline=average)
    hg.score_function(THREE.distribution(THREE.rows(0)), f, baseline=average)
    torch.func.grad(lambda row: hg.score_function(THREE.distribution(row, check=False), f, baseline=average).sum())(
        logits
    )
    hg.score_function(THREE.distribution(logits), f, baseline=average.eval())
    assert average.state_dict() == state
    hg.score_function(THREE.distribution(logits), f, baseline=average.train())
    assert average.state_dict() != state
    assert repr(average) == "MovingAverage(decay=0.5)"


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_moving_average_refuses_a_decay(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"MovingAverage: decay must be at least 0 and below 1, got {decay}; 0.99"):
        hg.montecarlo.MovingAverage(decay)


class Predict(nn.Module):
    def __init__(self, last: bool) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 1, dtype=torch.float64), last
        self.seen = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.layer(x) if self.last else self.layer(x).squeeze(-1)


@pytest.mark.parametrize("last", [True, False])
def test_a_network_learns_from_its_squared_error_alone(last: bool) -> None:
    network, f, logits = Predict(last), Recorder(), THREE.rows(6)
    (7 * hg.score_function(THREE.distribution(logits), f, samples=2, baseline=network)).sum().backward()
    guess = network.layer(logits.detach()).squeeze(-1)
    torch.testing.assert_close(network.seen, logits.detach())
    torch.testing.assert_close(logits.grad, 7 * literal(logits, f.b, f.of(f.b) - guess.detach()))
    expected = torch.autograd.grad((guess - f.of(f.b)).square().mean(), network.layer.weight)[0]
    torch.testing.assert_close(network.layer.weight.grad, expected)


def test_a_network_sees_the_context_it_is_given() -> None:
    network, f, logits = Predict(True), Recorder(), THREE.rows(6)
    context = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    hg.score_function(THREE.distribution(logits), f, baseline=network, context=context).sum().backward()
    torch.testing.assert_close(network.seen, context.detach())
    assert context.grad is None
    guess = network.layer(context).squeeze(-1)
    torch.testing.assert_close(logits.grad, literal(logits, f.b, f.of(f.b) - guess.detach()))


def test_the_context_is_finite_where_logits_are_not() -> None:
    network = Predict(True)
    logits = torch.tensor([[torch.inf, -torch.inf, 0.5]], dtype=torch.float64, requires_grad=True)
    hg.score_function(THREE.distribution(logits), Recorder(), baseline=network).sum().backward()
    assert network.seen.tolist() == [[20.0, -20.0, 0.5]]
    assert network.layer.weight.grad.isfinite().all()


def test_the_penalty_is_of_one_call_and_named_in_a_model() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.critic = Predict(True)

        def forward(self, logits: Tensor) -> Tensor:
            return hg.score_function(THREE.distribution(logits), f, baseline=self.critic)

    model, f, logits = Model(), Recorder(), THREE.rows(6)
    with hg.penalties() as bag:
        model(logits)
    ((name, penalty),) = bag
    assert name == "critic"
    torch.testing.assert_close(penalty, (model.critic.layer(logits.detach()).squeeze(-1) - f.of(f.b)).square().mean())


def test_what_a_baseline_must_be() -> None:
    q = THREE.distribution(THREE.rows(6))
    with pytest.raises(ValueError, match=r"baseline must be None, 'leave_one_out' or a module, got 'loo'; hardgrad"):
        hg.score_function(q, Recorder(), baseline="loo")
    with pytest.raises(ValueError, match="leave_one_out needs samples of at least 2, got 1; there is no other"):
        hg.score_function(q, Recorder(), baseline="leave_one_out")
    with pytest.raises(ValueError, match="score_function: samples must be at least 1, got 0"):
        hg.score_function(q, Recorder(), samples=0)
    wrong = nn.Linear(3, 2, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"shape \(6,\) \(or with a last dimension of 1\), got \(6, 2\) for context \(6, 3"
    ):
        hg.score_function(q, Recorder(), baseline=wrong)


# Continuous q.


def test_a_step_smoothed_by_gaussian_noise_has_the_gradients_of_the_normal_integral() -> None:
    """E[x > 0] for x of mean m and scale s is Phi(m / s): derivatives phi / s and -m phi / s^2, at 40,000 rows."""
    m, s, rows = 0.4, 0.7, 40_000
    mean = torch.full((rows,), m, dtype=torch.float64, requires_grad=True)
    scale = torch.full((rows,), s, dtype=torch.float64, requires_grad=True)

    def step(x: Tensor) -> Tensor:
        return torch.from_numpy((x.numpy() > 0).astype("float64"))

    generator = torch.Generator().manual_seed(0)
    value = hg.score_function(Normal(mean, scale), step, samples=4, baseline="leave_one_out", generator=generator)
    found = torch.autograd.grad(value.sum(), [mean, scale])
    density = math.exp(-((m / s) ** 2) / 2) / math.sqrt(2 * math.pi)
    integral = (1 + math.erf(m / s / math.sqrt(2))) / 2
    for seen, expected in zip((value.detach(), *found), (integral, density / s, -m * density / s**2), strict=True):
        assert deviation(seen, torch.tensor(expected)) < SIGMA


def test_a_generator_decides_normal_draws() -> None:
    mean = torch.zeros(2, 3, requires_grad=True)
    q = Independent(Normal(mean, torch.tensor([1.0, 2.0, 3.0])), 1)

    def drawn(seed: int) -> Tensor:
        return hg.score_function(q, lambda x: x.sum(-1), samples=2, generator=torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    assert torch.equal(before, torch.get_rng_state())


def test_any_distribution_with_a_density_is_taken() -> None:
    """The mean of x^2 under an exponential law of rate r is 2 / r^2, its derivative -4 / r^3; 40,000 rows."""
    rate = torch.full((40_000,), 2.0, dtype=torch.float64, requires_grad=True)
    value = hg.score_function(Exponential(rate), lambda x: x.square(), samples=4, baseline="leave_one_out")
    (found,) = torch.autograd.grad(value.sum(), rate)
    assert deviation(found, torch.tensor(-4 / 2.0**3)) < SIGMA
    with pytest.raises(ValueError, match="generator is for discrete q and Normal, got Poisson, which torch samples"):
        hg.score_function(Poisson(rate), lambda x: x, generator=torch.Generator())


def test_a_network_beside_a_normal_sees_its_mean() -> None:
    network, mean = Predict(True), torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    hg.score_function(Independent(Normal(mean, 1.0), 1), lambda x: x.sum(-1), baseline=network).sum().backward()
    torch.testing.assert_close(network.seen, mean.detach())


# Second derivatives.


@pytest.mark.parametrize("baseline", [None, "leave_one_out"])
def test_mixed_second_derivatives_are_those_of_enumeration(baseline: str | None) -> None:
    """Of q's parameter and f's, 40,000 rows."""
    problem = Problem(THREE, next(c for c in CASES if c.name == "parameters of f"))
    rows, direction = 40_000, torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)

    leaves = problem.leaves(rows)
    value = hg.score_function(
        THREE.distribution(leaves["q"]), lambda b: problem.case.function(b, leaves["f"]), samples=3, baseline=baseline
    )
    (first,) = torch.autograd.grad(value.sum(), leaves["q"], create_graph=True)
    found = torch.autograd.grad((first * direction).sum(), [leaves["q"], leaves["f"]])

    leaf = problem.leaves()
    expectation = sum(p * problem.case.function(b, leaf["f"]) for b, p in outcomes(THREE, leaf["q"]))
    (exact,) = torch.autograd.grad(expectation, leaf["q"], create_graph=True)
    expected = torch.autograd.grad((exact * direction).sum(), [leaf["q"], leaf["f"]])
    for seen, true in zip(found, expected, strict=True):
        assert deviation(seen, true).max() < SIGMA
        assert (true.abs() / standard_error(seen)).max() > 10


def test_a_second_derivative_leaves_the_network_alone() -> None:
    network, logits = Predict(True), THREE.rows(6)
    with hg.penalties():
        loss = hg.score_function(THREE.distribution(logits), Recorder(), samples=2, baseline=network).sum()
    (first,) = torch.autograd.grad(loss, logits, create_graph=True)
    first.square().sum().backward()
    assert logits.grad.abs().sum() > 0
    assert network.layer.weight.grad is None


def test_a_third_derivative() -> None:
    """Of one Bernoulli, f = 2 b + 1: the derivatives of 2 sigmoid(l); 40,000 rows."""
    logits = torch.full((40_000,), 0.3, dtype=torch.float64, requires_grad=True)
    found = hg.score_function(Bernoulli(logits=logits), lambda b: 2 * b + 1, samples=2, baseline="leave_one_out").sum()
    leaf = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    true = 2 * leaf.sigmoid()
    for _ in range(3):
        (rows,) = torch.autograd.grad(found, logits, create_graph=True)
        (true,) = torch.autograd.grad(true, leaf, create_graph=True)
        assert deviation(rows.detach(), true.detach()) < SIGMA
        found = rows.sum()


def test_truth_and_one_hot_agree_with_a_bernoulli() -> None:
    """The enumeration itself: a Bernoulli is a one-hot of two, by a closed form."""
    leaf = torch.tensor([0.0, 0.4], dtype=torch.float64, requires_grad=True)
    value = hg.exact(OneHotCategorical(logits=leaf), lambda b: b[..., 1])
    value.backward()
    p = 1 / (1 + math.exp(-0.4))
    torch.testing.assert_close(leaf.grad, torch.tensor([-p * (1 - p), p * (1 - p)], dtype=torch.float64))
    linear = Problem(VARIABLES[0], CASES[0])
    p = 1 / (1 + math.exp(-0.7))
    assert truth(linear)["q"].item() == pytest.approx(p * (1 - p) * math.cos(0.4))
