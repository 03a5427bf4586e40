"""The core under every Monte Carlo estimator: one form of q, calling f, exact sums, ReinMax."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, OneHotCategorical

import hardgrad as hg
import mc_formulas
from enumeration import Problem, deviation, estimate, outcomes, truth
from hardgrad.montecarlo._exact import outcomes as states_of
from hardgrad.montecarlo.discrete import discrete
from mc_bank import CASES, VARIABLES, Variable, weights
from mc_cases import ESTIMATORS

SIGMA = 4.5


def named(name: str) -> Variable:
    return next(v for v in VARIABLES if v.name == name)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: v.name)
def test_one_form_has_the_numbers_of_torch(variable: Variable) -> None:
    q = variable.distribution(variable.rows(5))
    d = discrete(q, "here")
    b = d.draw(7, None)
    assert b.shape == (7, *d.logits.shape)
    torch.testing.assert_close(d.log_prob(b), q.log_prob(d.shown(b)))
    base = q
    while isinstance(base, Independent):
        base = base.base_dist
    probs = base.mean if variable.kind == "KSubset" else base.probs
    torch.testing.assert_close(d.probs, probs)
    torch.testing.assert_close(d.others, 1 - probs)
    assert d.shown(b).shape == (7, *q.batch_shape, *q.event_shape)


def test_probabilities_near_one_keep_their_complement() -> None:
    d, tiny = discrete(Bernoulli(logits=torch.tensor([40.0, -40.0])), "here"), torch.tensor(-40.0).exp()
    torch.testing.assert_close(d.others, torch.tensor([tiny, 1.0]), rtol=1e-6, atol=0)
    torch.testing.assert_close(d.probs, torch.tensor([1.0, tiny]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: v.name)
def test_draws_have_the_probabilities(variable: Variable) -> None:
    d = discrete(variable.distribution(variable.rows(30_000)), "here")
    found = d.draw(1, torch.Generator().manual_seed(0)).squeeze(0)
    assert deviation(found, d.probs[0].detach()).max() < SIGMA


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_stays_inside_the_unit_interval(dtype: torch.dtype) -> None:
    """At both ends of what torch.rand can return."""
    d = discrete(Bernoulli(logits=torch.zeros(2, dtype=dtype)), "here")
    ends = torch.tensor([0.0, 1 - torch.finfo(dtype).eps / 2], dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_, **__: ends.clone())
        u = d.noise(1, None)
    assert (u > 0).all()
    assert (u < 1).all()
    assert (u.log().isfinite() & torch.log1p(-u).isfinite() & (-(-u.log()).log()).isfinite()).all()


def test_outcomes_of_probability_zero_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """At both ends of what torch.rand can return, where a clamped logit would let them through."""
    for end in (0.0, 1 - 2.0**-24):
        monkeypatch.setattr(torch, "rand", lambda shape, end=end, **_: torch.full(shape, end))
        p = torch.tensor([0.0, 1.0])
        for f in (hg.score_function, hg.disarm, hg.arms, hg.rebar, hg.gumbel, hg.gumbel_rao, hg.reinmax):
            assert (
                f(Independent(Bernoulli(probs=p, validate_args=False), 1), lambda b: b @ torch.tensor([10.0, 1.0])) == 1
            )
    for dtype in (torch.float32, torch.bfloat16):
        d = discrete(OneHotCategorical(logits=torch.randn(50, 7).to(dtype)), "here")
        torch.testing.assert_close(d.logits.exp().sum(-1), torch.ones(50))


@pytest.mark.parametrize("kind", [Bernoulli, OneHotCategorical, Categorical])
@pytest.mark.parametrize("given", ["logits", "probs"])
def test_what_torch_keeps_on_q_does_not_matter(kind: type[Distribution], given: str) -> None:
    """entropy() makes the other parameter and keeps it, graph and all: in fp32 a logit of 20 would come back as 16."""
    parameter = torch.tensor([[0.0, 20.0] if given == "logits" else [0.25, 0.75]], requires_grad=True)
    q = kind(**{given: parameter})
    fresh = discrete(kind(**{given: parameter}), "here")
    q.entropy(), q.log_prob(q.sample())
    d = discrete(q, "here")
    assert d.by_probs == fresh.by_probs == (given == "probs")
    assert torch.equal(d.given, fresh.given)
    assert torch.equal(d.logits, fresh.logits)


@pytest.mark.parametrize("given", ["logits", "probs"])
def test_two_losses_of_one_q_have_graphs_of_their_own(given: str) -> None:
    q = Bernoulli(**{given: torch.tensor([0.2, 0.5], requires_grad=True)})
    q.entropy()
    for _ in range(2):
        hg.score_function(q, lambda b: b).sum().backward()


def test_an_expanded_and_nested_distribution_is_taken() -> None:
    logits = torch.zeros(3, requires_grad=True)
    q = Independent(Independent(Bernoulli(logits=logits).expand((4, 2, 3)), 1), 1)
    loss = hg.exact(q, lambda b: b.sum((-1, -2)))
    assert loss.shape == (4,)
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.full((3,), 4 * 2 * 0.25))


# Exact.


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: v.name)
def test_derivatives_of_exact_of_any_order(variable: Variable) -> None:
    """Against central differences: of the value, of the gradient, of a second derivative."""
    weight = weights(variable.features, 0.4)

    def f(b: Tensor) -> Tensor:
        return ((variable.seen(b) - 0.3).square() * weight).sum(-1).exp()

    def value(parameter: Tensor) -> Tensor:
        return hg.exact(variable.distribution(parameter, check=False), f)

    def second(parameter: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(value(parameter).sum(), parameter, create_graph=True)
        (twice,) = torch.autograd.grad(first.flatten()[0], parameter, create_graph=True)
        return twice

    parameter = variable.rows()
    assert torch.autograd.gradcheck(value, parameter)
    assert torch.autograd.gradgradcheck(value, parameter)
    if variable.given == "logits":  # of a probability by itself f is linear: nothing is left
        assert torch.autograd.gradcheck(second, parameter)


def test_exact_at_probabilities_zero_and_one() -> None:
    p = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64, requires_grad=True)
    value = hg.exact(Independent(Bernoulli(probs=p), 1), lambda b: b @ torch.tensor([1.0, 2, 4]).double() + b.prod(-1))
    (first,) = torch.autograd.grad(value, p, create_graph=True)
    assert value.item() == 4.0
    assert first.tolist() == [1.5, 2.0, 4.0]
    (second,) = torch.autograd.grad(first[0], p)
    assert second.tolist() == [0.0, 0.5, 1.0]


def test_exact_sees_every_outcome_once_and_all_in_one_call() -> None:
    calls: list[Tensor] = []

    def f(b: Tensor) -> Tensor:
        calls.append(b)
        return b.sum((-1, -2))

    hg.exact(Independent(OneHotCategorical(logits=torch.zeros(2, 3, 4)), 1), f)
    (b,) = calls
    assert b.shape == (64, 2, 3, 4)
    assert torch.equal(b.sum(-1), torch.ones(64, 2, 3))
    assert len({tuple(state.flatten().tolist()) for state in b[:, 0]}) == 64


def test_outcomes_are_in_the_order_of_counting() -> None:
    expected = torch.stack([b for b, _ in outcomes(named("3 Bernoullis"), named("3 Bernoullis").one)])
    assert torch.equal(
        states_of(discrete(Independent(Bernoulli(logits=torch.zeros(3)), 1), "here"), 8), expected.float()
    )


def test_exact_has_a_bound() -> None:
    q = Independent(Bernoulli(logits=torch.zeros(5)), 1)
    assert hg.exact(q, lambda b: b.sum(-1), max_states=32) == 2.5
    with pytest.raises(ValueError, match="at most max_states=31 outcomes, got 32; raise max_states, or sample"):
        hg.exact(q, lambda b: b.sum(-1), max_states=31)
    with pytest.raises(ValueError, match="max_states=65536 outcomes, got 1000000;"):
        hg.exact(Independent(Categorical(logits=torch.zeros(6, 10)), 1), lambda b: b.sum(-1))


# What f returns.


@pytest.mark.parametrize("call", [hg.exact, hg.score_function])
def test_counts_become_numbers(call: object) -> None:
    """An objective that counts returns integers or truth values."""
    for dtype in (torch.float32, torch.float64):
        q = Bernoulli(probs=torch.ones(3, dtype=dtype, requires_grad=True))
        for cost in (lambda b: b.long() * 2, lambda b: b > 0):
            value = call(q, cost)
            assert value.dtype == dtype
            assert value.tolist() == cost(torch.ones(3)).float().tolist()


def test_f_must_stay_on_its_device() -> None:
    with pytest.raises(ValueError, match="score_function: f must stay on cpu, got a value on meta; move it back"):
        hg.score_function(Bernoulli(logits=torch.zeros(3)), lambda b: b.to("meta"))


def test_messages_about_shape_tell_the_two_cases_apart() -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    alone = r"shape \(4, 3\) for samples of shape \(4, 3\), got \(4,\); sum over the event \(\), and wrap q in"
    with pytest.raises(ValueError, match=f"score_function: f must return one number per sample, {alone}"):
        hg.score_function(Bernoulli(logits=logits), lambda b: b.sum(-1))
    several = (
        r"shape \(2, 4\) for samples of shape \(2, 4, 3\), got \(4,\); let f broadcast over leading dimensions, or"
    )
    with pytest.raises(ValueError, match=f"score_function: f must return one number per sample, {several}"):
        hg.score_function(Independent(Bernoulli(logits=logits), 1), lambda b: b.sum(-1)[0], samples=2)


def test_each_hands_over_one_sample_at_a_time() -> None:
    x, logits = torch.randn(4, 2), torch.randn(4, 3, requires_grad=True)
    layer = nn.Linear(5, 1)
    shapes: list[torch.Size] = []

    def joined(b: Tensor) -> Tensor:
        shapes.append(b.shape)
        return layer(torch.cat([x, b], -1)).tanh().squeeze(-1)

    def broadcast(b: Tensor) -> Tensor:
        return layer(torch.cat([x.expand(*b.shape[:-1], 2), b], -1)).tanh().squeeze(-1)

    found = []
    for f in (hg.montecarlo.each_sample(joined), broadcast):
        torch.manual_seed(0)
        loss = hg.score_function(Independent(Bernoulli(logits=logits), 1), f, samples=5, baseline="leave_one_out")
        found.append([loss, *torch.autograd.grad(loss.sum(), [logits, layer.weight])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert shapes == [(4, 3)] * 5
    scalar = hg.montecarlo.each_sample(lambda b: b * torch.arange(4.0), event_dims=0)
    b = torch.rand(2, 3, 4)
    torch.testing.assert_close(scalar(b), b * torch.arange(4.0))
    torch.testing.assert_close(scalar(b[0, 0]), b[0, 0] * torch.arange(4.0))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_bridge_inside_f_is_heard_once_by_the_estimators_that_look_twice(compiled: bool) -> None:
    """Its penalty and its fidelity are those of the hard samples, from compiled code too."""
    layer = hg.Bridge(hg.hard.sign, hg.approximators.mlp(1, 1, hidden=(4,)))
    logits = torch.zeros(5, 3, requires_grad=True)
    seen: list[Tensor] = []

    def f(b: Tensor) -> Tensor:
        value = (b * torch.tensor([1.0, -2.0, 3.0])).sum(-1, keepdim=True)
        if not torch.compiler.is_compiling():
            seen.append(value.detach())
        return layer(value).squeeze(-1)

    def step(logits: Tensor) -> Tensor:
        q = Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)
        return hg.rebar(q, f).sum()

    torch.manual_seed(0)
    step(logits)
    penalty = 10 * (layer.approximator(seen[0]) - seen[0].sign()).square().sum() / 5
    fidelity = (layer.approximator(seen[0]) - seen[0].sign()).norm() / seen[0].sign().norm()
    torch.compiler.reset()
    run = torch.compile(step, fullgraph=True, backend="aot_eager") if compiled else step
    torch.manual_seed(0)
    with hg.penalties() as bag:
        run(logits)
    assert len(bag._items) == 1
    torch.testing.assert_close(bag.total(), penalty)
    assert layer.fidelity().relative_error == pytest.approx(fidelity.item())


# ReinMax.


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("name", ["3 Bernoullis", "one-hot of 3, skewed probs", "2 one-hots of 3"])
def test_reinmax_has_the_published_mean_at_any_temperature(name: str, temperature: float) -> None:
    variable, rows = named(name), 20_000
    case = next(c for c in CASES if c.name == "exponential")
    parameter, row = variable.rows(rows), variable.rows()

    def f(b: Tensor) -> Tensor:
        return case.function(variable.seen(b), b)

    loss = hg.reinmax(variable.distribution(parameter), f, temperature=temperature)
    (found,) = torch.autograd.grad(loss.sum(), parameter)
    setting = mc_formulas.Setting(variable, row, outcomes(variable, row), f, hg.reinmax)
    expected, _ = mc_formulas.reinmax(setting, temperature)
    assert deviation(found, expected).max() < SIGMA


@pytest.mark.parametrize("name", ["Bernoulli", "Bernoulli, skewed probs", "one-hot of 4", "one-hot of 3, skewed probs"])
def test_reinmax_is_unbiased_for_quadratics_of_one_unit(name: str) -> None:
    problem = Problem(named(name), next(c for c in CASES if c.name == "quadratic"))
    reinmax = next(e for e in ESTIMATORS if e.name == "reinmax")
    assert deviation(estimate(reinmax, problem, 20_000)["q"], truth(problem)["q"]).max() < SIGMA


@pytest.mark.parametrize("kind", ["Bernoulli", "OneHotCategorical"])
def test_reinmax_at_temperature_one_is_zgr(kind: str) -> None:
    """Draw by draw: half of straight-through's J(p), half of the score function's (b - p)(b - p)^T (Shekhovtsov's ZGR).

    With m = (b + p) / 2, 2 (diag m - m m^T) - J(p) / 2 is that, since b b^T = diag b for a one-hot b.
    """
    logits = Variable("five", kind, "logits", (0.3, -1.5, 0.0, 2.0, 0.7)).rows(200)
    seen: list[Tensor] = []

    def f(b: Tensor) -> Tensor:
        seen.append(b.detach().clone())
        return (b * weights(5, 0.4)).sum(-1).exp()

    q = Independent(Bernoulli(logits=logits), 1) if kind == "Bernoulli" else OneHotCategorical(logits=logits)
    (found,) = torch.autograd.grad(hg.reinmax(q, f).sum(), logits)
    (b,), p = seen, logits.detach().sigmoid() if kind == "Bernoulli" else logits.detach().softmax(-1)
    slope, outer = f(b).unsqueeze(-1) * weights(5, 0.4), (b - p).unsqueeze(-1) * (b - p).unsqueeze(-2)
    jacobian = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    if kind == "Bernoulli":  # of each unit by itself
        outer, jacobian = torch.diag_embed((b - p).square()), torch.diag_embed(p * (1 - p))
    expected = ((jacobian + outer) / 2 @ slope.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_reinmax_wants_a_temperature_of_at_least_one() -> None:
    with pytest.raises(ValueError, match=r"reinmax: temperature must be at least 1 and finite, got 0\.5;"):
        hg.reinmax(Bernoulli(logits=torch.zeros(2)), lambda b: b, temperature=0.5)


def test_normal_is_for_the_score_function_alone() -> None:
    for call in (hg.exact, hg.reinmax, hg.disarm, hg.gumbel):
        with pytest.raises(ValueError, match=r"got Normal; use hardgrad\.score_function, which takes any"):
            call(Normal(torch.zeros(3), 1.0), lambda b: b)
