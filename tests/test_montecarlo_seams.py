"""Where Monte Carlo gradients meet users: rare events, f that writes, odd distributions, travel, averages."""

from __future__ import annotations

import math
import multiprocessing
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Cauchy,
    Distribution,
    Exponential,
    Independent,
    MixtureSameFamily,
    Normal,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulli,
)

import hardgrad as hg
from hardgrad.montecarlo._arms import draw_apart
from hardgrad.montecarlo.control_variate import draw_scores
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.noise import fine_uniform

SIGMA = 4.5
MC = hg.montecarlo


# Rare events


@pytest.mark.parametrize("logit", [-15.0, -17.0, -20.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_draw_fires_as_often_as_its_probability_over_all_uniforms(
    monkeypatch: pytest.MonkeyPatch, logit: float, turned: bool
) -> None:
    """Counted over cells of torch.rand's grid in single precision, each with 2^12 even places inside it.

    Beyond the first 256 cells of 2^24 no draw is the rare outcome.
    """
    rows, places = 256, 2**12
    cells = torch.arange(rows, dtype=torch.float32).div(2**24).view(1, rows, 1)
    within = ((torch.arange(places) + 0.5) / places).view(1, 1, places)
    monkeypatch.setattr(torch, "rand", lambda shape, **_: (within if shape[1] == 1 else cells.expand(shape)).clone())
    logits = torch.full((rows, places), -logit if turned else logit)
    for estimator in (hg.score_function, hg.disarm, hg.gumbel, hg.rebar, hg.reinmax):
        shown: list[Tensor] = []
        estimator(Independent(Bernoulli(logits=logits), 1), lambda b, s=shown: (s.append(b.clone()), b.sum(-1))[1])
        hits = (shown[0] != turned).double().mean() * rows / 2**24
        p = 1 / (1 + math.exp(-logit))
        assert abs(hits / p - 1) < 0.02, (estimator.__name__, hits / p)


def test_noise_is_uniform_near_zero_and_independent_within_a_row() -> None:
    """Given the first cell, the place in it: Kolmogorov and Smirnov at 2.5; correlation of neighbours, 4.5 sigma."""
    n = 200_000
    with pytest.MonkeyPatch.context() as patch:
        rand = torch.rand
        patch.setattr(torch, "rand", lambda shape, **o: rand(shape, **o) * (shape[0] == 1))
        torch.manual_seed(0)
        u = fine_uniform((2, n), torch.zeros(()), None, 1)[0].double() * 2**24
    place = torch.arange(1, n + 1).double() / n
    assert (u.sort().values - place).abs().max() * n**0.5 < 2.5
    pair = (u[::2] - 0.5) * (u[1::2] - 0.5)
    assert pair.mean().abs() < SIGMA * pair.std() / len(pair) ** 0.5


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_arms_is_as_rare_in_single_precision_as_in_double(samples: int) -> None:
    """At uniforms that bring the rarer outcome about for the first draw: those of the others are small."""
    rarer = torch.tensor(2e-9)
    torch.manual_seed(0)
    u = torch.rand(samples, 400_000)
    u[1:] *= 3 * float(rarer) ** (1 / (samples - 1))
    b, exact = (draw_apart(x, -torch.ones(()).to(x), rarer.to(x))[0] for x in (u, u.double()))
    assert 0.01 < exact.mean() < 0.99
    assert (b != exact).double().mean() < 1e-3


def test_rare_probabilities_have_a_gradient() -> None:
    """Of b itself: 1 for each unit, in the mean over every outcome; torch's own logits are clamped at 1e-7."""
    for p in (1e-9, 1e-20, 0.5, 1 - 2.0**-24):
        probs = torch.tensor(p, requires_grad=True)
        d = discrete(Bernoulli(probs=probs), "here")
        total = sum(weight.detach() * d.log_prob(b) for b, weight in ((torch.ones(()), d.probs),))
        (found,) = torch.autograd.grad(total, probs)
        torch.testing.assert_close(found, torch.ones(()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [1e-3, 8.0, 17.0, 20.0, 40.0])
@pytest.mark.parametrize("name", ["reinmax", "disarm", "arms", "straight_through_estimator"])
def test_a_unit_turned_round_has_the_gradient_turned_round(name: str, size: float) -> None:
    """1 - b of logits -l is b of logits l: in single precision too, where a probability near 1 is rounded to 1."""
    found = []
    for sign in (1, -1):
        logits = torch.full((1000,), sign * size, requires_grad=True)
        turned = lambda b, s=sign: (b if s > 0 else 1 - b) * 3.0 + (b if s > 0 else 1 - b).square()  # noqa: E731
        torch.manual_seed(0)
        (getattr(hg, name, None) or getattr(MC, name))(Bernoulli(logits=logits), turned).sum().backward()
        found.append(sign * logits.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5 * float(found[1].abs().max()))


def test_the_score_of_a_common_outcome_is_the_probability_of_the_other() -> None:
    d = discrete(Bernoulli(logits=torch.tensor([20.0, -20.0])), "here")
    torch.manual_seed(0)
    scores = draw_scores(d, 1, True, None)
    assert scores.b.tolist() == [[1.0, 0.0]]
    rare = torch.tensor(-20.0).sigmoid()
    torch.testing.assert_close(scores.score, torch.stack([rare, -rare]).unsqueeze(0), rtol=1e-6, atol=0)


def test_an_impossible_outcome_counts_for_nothing_whatever_f_is_there() -> None:
    logits = torch.tensor([0.0, -torch.inf, 1.0], requires_grad=True)
    value = hg.exact(
        OneHotCategorical(logits=logits, validate_args=False),
        lambda b: (b * torch.arange(1.0, 4)).sum(-1) / (1 - b[..., 1]),
    )
    p = torch.tensor([0.0, 1.0]).softmax(0)
    torch.testing.assert_close(value, p @ torch.tensor([1.0, 3.0]))
    value.backward()
    torch.testing.assert_close(logits.grad, p[0] * p[1] * torch.tensor([-2.0, 0, 2.0]))


def test_a_weight_of_zero_is_never_drawn_and_has_no_gradient() -> None:
    probs = torch.tensor([0.0, 0.25, 0.75]).expand(1000, 3).clone().requires_grad_()
    for estimator in (hg.score_function, hg.gumbel, hg.rebar, hg.reinmax):
        probs.grad = None
        value = estimator(
            OneHotCategorical(probs=probs, validate_args=False), lambda b: b @ torch.tensor([1e9, 1.0, 2.0])
        )
        assert (value <= 2).all()
        value.sum().backward()
        assert probs.grad.isfinite().all()
        assert not (probs.grad[:, 0] > 1e6).any()


# What is handed to the user


def test_f_may_write_into_what_torch_distributions_save() -> None:
    """Against the same f without the write, from the same seed: the log_prob of an exponential saves its sample."""
    found = []
    for write in (False, True):
        rate = torch.full((50,), 1.5, requires_grad=True)

        def f(b: Tensor, write: bool = write) -> Tensor:
            b = b.add_(1) if write else b + 1
            return b.square()

        torch.manual_seed(0)
        hg.score_function(Exponential(rate), f).sum().backward()
        found.append(rate.grad)
    assert torch.equal(found[0], found[1])


def test_a_context_is_seen_as_it_was_and_left_as_it_was() -> None:
    """Neither a network that writes into its input nor an f that writes into the context changes the other's."""
    context, seen = torch.randn(6, 2), []
    before = context.clone()
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1))
    network[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    q = Bernoulli(logits=torch.zeros(6, requires_grad=True))

    def f(b: Tensor) -> Tensor:
        assert torch.equal(context, before)
        return b + context.zero_().sum(-1)

    hg.score_function(q, f, baseline=network, context=context)
    assert torch.equal(seen[0], before.relu())


def test_each_is_safe_from_a_function_that_writes_and_returns_one_buffer() -> None:
    buffer = torch.empty(4)
    clean = MC.each_sample(lambda b: (b * torch.arange(3.0)).sum(-1))
    dirty = MC.each_sample(lambda b: torch.sum(b.mul_(torch.arange(3.0)), -1, out=buffer))
    sample = torch.randn(5, 4, 3)
    kept = sample.clone()
    torch.testing.assert_close(dirty(sample), clean(kept))
    assert torch.equal(sample, kept)


def test_each_names_what_it_is_given() -> None:
    with pytest.raises(TypeError, match="each_sample: f must be a function of one sample, got int 3"):
        MC.each_sample(3)
    with pytest.raises(ValueError, match="each_sample: event_dims must be at least 0, got -1"):
        MC.each_sample(torch.sum, -1)
    with pytest.raises(ValueError, match="each_sample: f must return a tensor, got tuple"):
        MC.each_sample(lambda b: (b,))(torch.zeros(2, 3, 4))


# Travel


def total(b: Tensor) -> Tensor:
    return b.square().sum(-1)


def in_another_process(send: multiprocessing.connection.Connection, f: MC.Objective) -> None:
    send.send(f(torch.ones(2, 3, 4)).tolist())


def test_each_travels() -> None:
    joined = MC.each_sample(total)
    assert torch.equal(pickle.loads(pickle.dumps(joined))(torch.ones(2, 3, 4)), torch.full((2, 3), 4.0))
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=in_another_process, args=(send, joined))
    process.start()
    assert receive.poll(60)
    assert receive.recv() == [[4.0] * 3] * 2
    process.join()


@pytest.mark.parametrize("name", [n for n in dir(MC) if callable(getattr(MC, n)) and not n.startswith("_")])
def test_every_public_name_travels(name: str) -> None:
    if name != "Objective":
        assert pickle.loads(pickle.dumps(getattr(MC, name))) is getattr(MC, name)


# Averages and temperatures


def test_a_moving_average_takes_in_finite_means_alone() -> None:
    average = MC.MovingAverage(0.5)
    average.observe(torch.tensor([2.0, 4.0]))
    state = {name: t.clone() for name, t in average.state_dict().items()}
    for bad in (torch.inf, -torch.inf, torch.nan, 3e38):
        average.observe(torch.tensor([bad, 1.0, bad]))
        assert all(torch.equal(t, state[name]) for name, t in average.state_dict().items())
    assert average(torch.zeros(())) == 3


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "float"])
def test_state_stays_in_single_precision(cast: str) -> None:
    model = nn.ModuleDict(
        {"average": MC.MovingAverage(0.9), "tau": MC.Annealed(1.0, 0.1, 100), "rest": nn.Linear(1, 1)}
    )
    model["average"].observe(torch.tensor(1e6))
    getattr(model, cast)()
    assert {t.dtype for t in (model["average"].mean, model["average"].seen, model["tau"].temperature)} == {
        torch.float32
    }
    model["average"].observe(torch.tensor(1e6))
    torch.testing.assert_close(model["average"](torch.zeros(3, dtype=torch.float16)), torch.tensor(1e6))
    assert model["average"](torch.zeros(3, dtype=torch.int64)).dtype is torch.float32
    model.to("meta").to_empty(device="cpu")
    assert model["average"].mean.dtype is torch.float32


def test_a_half_network_learns_from_errors_beyond_its_squares() -> None:
    network = nn.Linear(3, 1).half()
    q = Independent(Bernoulli(logits=torch.zeros(8, 3, dtype=torch.float16, requires_grad=True)), 1)
    with hg.penalties() as bag:
        hg.score_function(q, lambda b: b.sum(-1) * 0 + 6e4, baseline=network)
    assert 3e9 < bag.total() < 4e9


# Distributions


def test_other_distributions_are_sampled_by_their_own_methods() -> None:
    """A mixture's weights have the gradient of its mean, at 4.5 sigma of 20,000 rows; others run."""
    torch.manual_seed(0)
    n = 20_000
    weights = torch.zeros(n, 2, requires_grad=True)
    mixture = MixtureSameFamily(Categorical(logits=weights), Normal(torch.tensor([-1.0, 2.0]).expand(n, 2), 0.1))
    hg.score_function(mixture, lambda x: x).sum().backward()
    error = weights.grad.std(0) / n**0.5
    assert ((weights.grad.mean(0) - torch.tensor([-0.75, 0.75])).abs() < SIGMA * error).all()
    assert hg.score_function(RelaxedBernoulli(torch.tensor(1.0), logits=torch.zeros(3)), lambda x: x).shape == (3,)
    logits = torch.zeros(5, 3, requires_grad=True)
    assert hg.reinmax(OneHotCategoricalStraightThrough(logits=logits), lambda b: b[..., 0]).shape == (5,)


class Shifted(Bernoulli):
    """Draws of its own, which carry a gradient that must not count."""

    def sample(self, sample_shape: torch.Size) -> Tensor:
        return super().sample(sample_shape) + self.probs * 0


class Loud(Independent):
    """An ``Independent`` with a log_prob of its own."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) * 1.0


def test_own_methods_are_called_or_the_class_is_refused() -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    for q in (Independent(Shifted(logits=logits), 1), Loud(Bernoulli(logits=logits), 1)):
        assert hg.score_function(q, lambda b: b.sum(-1)).shape == (4,)
        with pytest.raises(ValueError, match=r"disarm: q must be .*, got (Shifted|Loud), a \w+ with a \w+ of its own"):
            hg.disarm(q, lambda b: b.sum(-1))
    patched = Bernoulli(logits=logits)
    patched.sample = lambda shape: torch.ones((*shape, 4, 3))
    with pytest.raises(ValueError, match=r"exact: q must be .*, got Bernoulli, a Bernoulli with a sample of its own"):
        hg.exact(patched, lambda b: b)
    torch.manual_seed(0)
    hg.score_function(Shifted(logits=logits), lambda b: b).sum().backward()
    assert (logits.grad.abs() <= 0.5).all()


class Crooked(Normal):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value).sum()


@pytest.mark.parametrize(
    ("message", "q", "options"),
    [
        (
            r"context must be given where q has no mean .*, got None beside RelaxedBernoulli",
            "relaxed",
            {"baseline": nn.Identity()},
        ),
        (
            r"context is what a baseline network sees, got one beside baseline=None",
            "plain",
            {"context": torch.zeros(3)},
        ),
        (r"q must have one log_prob per sample, shape \(1, 3\), got \(\) from Crooked", "crooked", {}),
        (r"baseline must return a tensor, got NoneType", "plain", {"baseline": nn.Module()}),
        (r"baseline must return floating point, got torch.bool", "plain", {"baseline": nn.Module()}),
    ],
)
def test_what_score_function_refuses(message: str, q: str, options: dict[str, object]) -> None:
    made: dict[str, Distribution] = {
        "relaxed": RelaxedBernoulli(torch.tensor(1.0), logits=torch.zeros(3)),
        "plain": Bernoulli(logits=torch.zeros(3, requires_grad=True)),
        "crooked": Crooked(torch.zeros(3), 1.0),
    }
    if "NoneType" in message or "bool" in message:
        options["baseline"].forward = lambda x: None if "NoneType" in message else x > 0
    with pytest.raises(ValueError, match=f"score_function: {message}"):
        hg.score_function(made[q], lambda b: b, **options)


def test_a_distribution_without_a_mean_shows_its_network_zeros() -> None:
    seen: list[Tensor] = []
    network = nn.Linear(3, 3)
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    q = Cauchy(torch.zeros(3), torch.ones(3, requires_grad=True))
    hg.score_function(q, lambda b: b.sign(), baseline=network)
    assert not seen[0].any()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("Annealed: steps must be a whole number, at least 1, got float nan", lambda: MC.Annealed(1.0, 0.5, math.nan)),
        ("Annealed: start must be above 0 and finite in single precision", lambda: MC.Annealed(1e308, 0.5, 10)),
        ("Annealed: end must be above 0 and finite in single precision", lambda: MC.Annealed(1.0, 1e-300, 10)),
        ("Annealed: start must be a number, got str", lambda: MC.Annealed("1", 0.5, 10)),
        ("MovingAverage: decay must be a number, got str", lambda: MC.MovingAverage("0.9")),
        ("RebarControl: temperature must be above 0 and finite in single", lambda: MC.RebarControl(1e300)),
        ("RebarControl: scale must be finite, got nan", lambda: MC.RebarControl(scale=math.nan)),
        ("rebar: scale must be finite, got nan", lambda: hg.rebar(Q, total, scale=math.nan)),
        ("rebar: scale must be a number, got a tensor", lambda: hg.rebar(Q, total, scale=torch.ones(()))),
        ("gumbel: temperature must be above 0 and finite, got nan", lambda: hg.gumbel(Q, total, temperature=math.nan)),
        ("gumbel: temperature must be a number, got str", lambda: hg.gumbel(Q, total, temperature="1")),
        (
            "gumbel_rao: inner must be a whole number, at least 1, got float nan",
            lambda: hg.gumbel_rao(Q, total, inner=math.nan),
        ),
        (
            "exact: max_states must be a whole number, at least 1, got float nan",
            lambda: hg.exact(Q, total, max_states=math.nan),
        ),
        (
            "bridge_estimator: weight must be a number, got str",
            lambda: MC.bridge_estimator(Q, total, nn.Identity(), weight="1"),
        ),
        (
            "bridge_estimator: weight must be at least 0 and finite, got inf",
            lambda: MC.bridge_estimator(Q, total, nn.Identity(), weight=math.inf),
        ),
        (
            "score_function: context must be a tensor, got int",
            lambda: hg.score_function(Q, total, baseline=nn.Identity(), context=3),
        ),
    ],
)
def test_arguments_are_named(message: str, call: object) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


Q = Independent(Bernoulli(logits=torch.zeros(4, 3)), 1)
