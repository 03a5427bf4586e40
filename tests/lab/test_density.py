"""The density model: its bound against enumeration, its gradients against the true one, its runs against themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, kl_divergence

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.density import DENSITY, Density
from hardgrad_lab.experiments.bridges.density.estimators import contestant
from hardgrad_lab.experiments.bridges.density.figures import draw
from hardgrad_lab.experiments.bridges.density.networks import BinaryVae, logits_of, measure
from hardgrad_lab.experiments.bridges.density.run import Model, begin, load_rows
from hardgrad_lab.experiments.bridges.density.second_order import Averaged, HalfWay, ReinmaxPairs
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import group_by_config

CPU = torch.device("cpu")
PIXELS, LATENTS = 6, 3
UNBIASED = ("score-loo", "disarm", "arms", "rebar", "relax", "bridge-control")
Make = Callable[..., tuple[Training, int]]


def configured(name: str, task: str = "mnist-static", **given: Any) -> Density:
    config: Density = DENSITY.configure("smoke", task, name, given)
    return config


@pytest.fixture
def begun(samples: Path) -> Make:
    """Return a maker of a training at step 0 with the number of its steps."""

    def make(name: str, task: str = "mnist-static", **given: Any) -> tuple[Training, int]:
        torch.manual_seed(5)
        training, plan = begin(configured(name, task, **given), 5, Root(folder=samples), CPU)
        training.model.train()
        return training, plan.steps

    return make


def small_vae(seed: int = 0, scale: float = 2.0) -> BinaryVae:
    """A model of 3 bits far from its start: weights that matter, a prior that is not one half."""
    torch.manual_seed(seed)
    vae = BinaryVae(torch.full((PIXELS,), 0.4), hidden=5, latents=LATENTS, learn_prior=True)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.copy_(torch.randn_like(weight) * scale / 2)
    return vae


def rows(count: int = 4) -> Tensor:
    return torch.bernoulli(torch.full((count, PIXELS), 0.5), generator=torch.Generator().manual_seed(7))


def prior_of(vae: BinaryVae, like: Tensor) -> Bernoulli:
    """The prior, a copy for every row: torch's divergence does not broadcast."""
    return Bernoulli(logits=vae.prior.detach().to(like.dtype).expand_as(like))


CODES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=LATENTS)))


def terms(vae: BinaryVae, x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probability of each code, log p(x|code) and log p(code) - log q(code), (codes, rows) each, by torch's classes."""
    q, prior = Bernoulli(logits=logits), Bernoulli(logits=vae.prior)
    codes = CODES.unsqueeze(1).expand(-1, len(x), -1)
    log_q = q.log_prob(codes).sum(-1)
    log_x = Bernoulli(logits=vae.decoder(2 * codes - 1)).log_prob(x.expand(len(codes), -1, -1)).sum(-1)
    return log_q.exp(), log_x, prior.log_prob(codes).sum(-1) - log_q


# ------------------------------------------------------------------------------------------------------- the bound


def test_the_measured_bounds_are_those_of_enumeration() -> None:
    vae, x, draws = small_vae(), rows(), 40_000
    with torch.no_grad():
        p, log_x, ratio = (each.double() for each in terms(vae, x, vae.encoder(x - vae.mean)))
    exact = (p * (log_x + ratio)).sum(0)
    bound, several = measure(vae, [(x, x)], draws, torch.Generator().manual_seed(1))
    mean = (p * log_x).sum(0)
    error = ((p * (log_x - mean) ** 2).sum(0) / draws).sum().sqrt() / len(x)
    assert bound == pytest.approx(exact.mean().item(), abs=4.5 * error.item())
    # Of many draws it is log p(x), up to the noise of the mean weight.
    weight = (log_x + ratio).exp()
    evidence = (p * weight).sum(0)
    noise = ((p * (weight - evidence) ** 2).sum(0).sqrt() / evidence / draws**0.5).square().sum().sqrt() / len(x)
    assert several == pytest.approx(evidence.log().mean().item(), abs=4.5 * noise.item() + 1e-5)
    assert several > bound


def test_of_one_draw_both_bounds_have_the_same_mean() -> None:
    vae, x = small_vae(), rows()
    found = [measure(vae, [(x.repeat(20_000, 1), x)], 1, torch.Generator().manual_seed(seed)) for seed in range(8)]
    bound, several = (torch.tensor(each) for each in zip(*found, strict=True))
    error = ((bound - several).std() / 8**0.5).item()
    assert abs((bound - several).mean().item()) < 4.5 * error
    assert error < 0.01


def test_batches_do_not_matter_to_a_measurement() -> None:
    vae, x = small_vae(), rows(10)
    with torch.no_grad():  # certain bits: no draw differs
        list(vae.encoder.parameters())[-1].copy_(torch.tensor([60.0, -60.0, 60.0]))
    whole = measure(vae, [(x, x)], 3, torch.Generator().manual_seed(0))
    parts = measure(vae, [(x[:3], x), (x[3:], x)], 3, torch.Generator().manual_seed(0))
    assert parts == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("scale", [0.5, 5.0, 30.0])
def test_the_divergence_is_torch_s(scale: float) -> None:
    vae, logits = small_vae(), torch.randn(50, LATENTS, generator=torch.Generator().manual_seed(2)) * scale
    expected = kl_divergence(Bernoulli(logits=logits.double()), prior_of(vae, logits.double())).sum(-1)
    torch.testing.assert_close(vae.kl(logits), expected.float(), atol=2e-5, rtol=1e-5)


# ----------------------------------------------------------------------------------------------------- the gradient


def per_row(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each row's loss with respect to the encoder's output, and the mean loss."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    with model.vae.encoder.register_forward_hook(keep), hg.penalties():
        loss = model(x)
        loss.backward()
    assert kept[0].grad is not None
    return kept[0].grad * len(x), loss.detach()


@pytest.mark.parametrize("name", UNBIASED)
def test_an_unbiased_contestant_s_gradient_has_the_enumerated_mean(name: str) -> None:
    vae, x, copies = small_vae(), rows(), 30_000
    model = Model(vae, contestant(configured(name, latents=LATENTS), steps=1), published_kl=False)
    logits = vae.encoder(x - vae.mean).detach().requires_grad_()
    p, log_x, ratio = terms(vae, x, logits)
    loss = -(p * (log_x + ratio)).sum(0)
    (expected,) = torch.autograd.grad(loss.sum(), logits)
    torch.manual_seed(3)
    found, value = per_row(model, x.repeat(copies, 1))
    found = found.view(copies, len(x), LATENTS)
    error = found.std(0) / copies**0.5
    # No unit here is so certain that its gradient has no noise to be judged by.
    assert error.min() > 0
    assert ((found.mean(0) - expected).abs() < 4.5 * error).all()
    assert value.item() == pytest.approx(loss.mean().item(), abs=0.05)


def test_a_biased_contestant_is_told_from_an_unbiased_one() -> None:
    vae, x, copies = small_vae(), rows(), 30_000
    logits = vae.encoder(x - vae.mean).detach().requires_grad_()
    p, log_x, ratio = terms(vae, x, logits)
    (expected,) = torch.autograd.grad(-(p * (log_x + ratio)).sum(), logits)
    model = Model(vae, contestant(configured("straight-through", latents=LATENTS), steps=1), published_kl=False)
    found = per_row(model, x.repeat(copies, 1))[0].view(copies, len(x), LATENTS)
    assert ((found.mean(0) - expected).abs() > 4.5 * found.std(0) / copies**0.5).any()


@pytest.mark.parametrize("name", list(DENSITY.contestants))
def test_the_decoder_runs_as_often_as_the_configuration_says(name: str, begun: Make) -> None:
    training, _ = begun(name)
    seen: list[int] = []
    model = training.model
    assert isinstance(model, Model)
    with model.vae.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output[..., 0].numel())):
        training.step(training.loss, 0.0)
    assert sum(seen) == configured(name).evaluations * configured(name).batch


# -------------------------------------------------------------------------------------------------- the published KL


class Shift(nn.Module):
    """An approximator that errs by a known amount."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, p: Tensor) -> Tensor:
        return p + self.by


def test_the_published_divergence_is_that_of_the_approximator_s_output() -> None:
    vae, x = small_vae(), rows()
    model = Model(vae, contestant(configured("bridge", latents=LATENTS), steps=1), published_kl=True)
    honest = Model(vae, model.contestant, published_kl=False)

    def kl_part(model: Model) -> float:
        torch.manual_seed(0)
        whole = model(x).item()
        torch.manual_seed(0)
        return float(whole - model.contestant(vae.bits(x), lambda b: -vae.log_likelihood(x, b)).mean())

    with torch.no_grad():
        p = vae.encoder(x - vae.mean).sigmoid()
        for by in (0.0, 0.2):
            model.contestant.learns = Shift(by)
            seen = Bernoulli((p + by).clamp(1e-4, 1 - 1e-4))
            expected = kl_divergence(seen, prior_of(vae, p)).sum(-1).mean().item()
            assert kl_part(model) == pytest.approx(expected, abs=1e-4)
            assert (abs(kl_part(honest) - expected) < 1e-2) == (by == 0.0)


def test_no_gradient_of_the_published_divergence_goes_into_the_approximator() -> None:
    model = Model(small_vae(), contestant(configured("bridge", latents=LATENTS), steps=1), published_kl=True)
    model.contestant.learns = shift = Shift(0.1)
    p = model.vae.encoder(rows() - 0.4).sigmoid()
    assert model.vae.kl(model.contestant.imitated(p).logit()).sum().requires_grad
    model.vae.kl(model.contestant.imitated(p).logit()).sum().backward()
    assert shift.by.grad is None
    assert model.vae.encoder[0].weight.grad is not None


def test_a_fitted_approximator_s_slope_is_that_of_the_mean() -> None:
    """The mean of a draw is its probability, so the slope is 1; unfitted, half of all seeds have it below zero."""
    p = torch.rand(4000, 1, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for seed in range(4):
        torch.manual_seed(seed)
        learns = contestant(configured("bridge", fitting=400, latents=6), steps=1).learns
        assert learns is not None
        (slope,) = torch.autograd.grad(learns(p).sum(), p)
        assert slope.mean().item() == pytest.approx(1.0, abs=0.2)


def test_on_drawn_bits_a_bridge_is_straight_through_with_a_learned_slope() -> None:
    """What a fitted approximator lends, beside f's slope at the bits times that of their mean, p (1 - p)."""
    torch.manual_seed(0)
    learns = contestant(configured("bridge", fitting=400, latents=LATENTS), steps=1).learns
    assert learns is not None
    logits = torch.randn(500, LATENTS).clamp(-2, 2).requires_grad_()  # f quadratic, of all bits together
    pull, q = torch.randn(LATENTS, LATENTS), Independent(Bernoulli(logits=logits), 1)
    seen: list[Tensor] = []

    def f(b: Tensor) -> Tensor:
        seen.append(b.detach())
        return ((b - 0.3) @ pull).square().sum(-1)

    with hg.penalties():
        hg.montecarlo.bridge_estimator(q, f, learns).sum().backward()
    p = logits.detach().sigmoid()
    expected = 2 * (seen[0] - 0.3) @ pull @ pull.T * p * (1 - p)
    assert logits.grad is not None
    assert ((logits.grad - expected).norm() / expected.norm()).item() < 0.15
    assert nn.functional.cosine_similarity(logits.grad.flatten(), expected.flatten(), 0).item() > 0.99


class Steep(nn.Module):
    """A sigmoid of some steepness, with a weight, as an approximator has."""

    def __init__(self, steepness: float) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(float(steepness)))

    def forward(self, z: Tensor) -> Tensor:
        return (z * self.steepness).sigmoid()


@pytest.mark.parametrize(
    ("layer", "off"), [(HalfWay(Steep(1), 1, 2), 1e-3), (Averaged(Steep(400), 1, 2), 0.1), (None, 0.0)]
)
def test_a_learned_second_order_slope_is_right_for_quadratic_f(layer: HalfWay | Averaged | None, off: float) -> None:
    """Over all codes of 3 bits; ``None`` is that of the mean, which is not."""
    logits = torch.tensor([-1.5, 0.2, 3.0])
    p = logits.sigmoid()
    pull = torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.5, -1.0], [-0.7, 0.4, 2.0]])
    values = ((CODES - 0.3) @ pull).square().sum(-1)
    slopes = 2 * (CODES - 0.3) @ pull @ pull.T
    chance = (CODES * p + (1 - CODES) * (1 - p)).prod(-1)
    truth = torch.stack([(chance * values * (CODES[:, i] - p[i])).sum() for i in range(LATENTS)])
    lent = p * (1 - p) if layer is None else layer.slope(logits.expand(len(CODES), -1), CODES)
    mean = (chance.unsqueeze(-1) * lent * slopes).sum(0)
    error = ((mean - truth).norm() / truth.norm()).item()
    assert (error > 1) if layer is None else (error < off)


def test_a_slope_averaged_over_the_noise_is_its_integral() -> None:
    """A soft approximator, by the trapezoid rule in double precision."""
    steep, logits = 1.7, torch.tensor([-4.0, -0.3, 0.0, 1.1, 5.0])
    layer = Averaged(Steep(steep), 1, 2)
    z = torch.linspace(0, 40, 40_001, dtype=torch.float64)
    for bit, side in ((1.0, 1), (0.0, -1)):
        found = layer.slope(logits, torch.full_like(logits, bit))
        for odds, slope in zip(logits.tolist(), found.tolist(), strict=True):
            soft, noise = (side * z * steep).sigmoid(), (side * z - odds).sigmoid()
            whole = torch.trapezoid(noise * (1 - noise), z)
            expected = torch.trapezoid(steep * soft * (1 - soft) * noise * (1 - noise), z) / whole
            assert slope == pytest.approx(expected.item(), rel=0.01)


def test_pairs_have_the_mean_of_reinmax_and_less_noise() -> None:
    """f quadratic, so that the mean is the true gradient: 20,000 rows, seed 4, 4.5 standard errors."""
    p, copies = torch.tensor([0.2, 0.5, 0.7]), 20_000
    pull = torch.tensor([0.5, -1.0, 2.0])
    spread = []
    for estimate in (
        ReinmaxPairs(3, 2, control=True),
        ReinmaxPairs(3, 2, control=False),
        partial(hg.reinmax, samples=2),
    ):
        torch.manual_seed(4)
        logits = p.logit().repeat(copies, 1).requires_grad_()
        q = Independent(Bernoulli(logits=logits), 1)
        if isinstance(estimate, ReinmaxPairs):  # what the other bits do to a slope: 2 w_i w_j
            estimate.see(torch.eye(3) * 100, 200 * torch.outer(pull, pull))
        estimate(q, lambda b: (b @ pull - 0.4).square()).sum().backward()
        assert logits.grad is not None
        # Of one bit, the others at their mean: f(1) - f(0) = w (w + 2 (m - 0.4)), m their mean sum.
        truth = p * (1 - p) * pull * (pull + 2 * ((pull * p).sum() - pull * p - 0.4))
        error = logits.grad.std(0) / copies**0.5
        assert ((logits.grad.mean(0) - truth).abs() < 4.5 * error).all()
        spread.append(logits.grad.var(0).sum().item())
    assert spread[0] < 0.8 * spread[1]
    assert spread[1] < 0.8 * spread[2]


# ------------------------------------------------------------------------------------------------------------- runs


@pytest.mark.parametrize("name", list(DENSITY.contestants))
def test_every_contestant_raises_the_bound_and_moves_the_encoder(name: str, begun: Make) -> None:
    training, steps = begun(name, epochs=10, lr=1e-2)
    training.add_point(last=False)
    model = training.model
    assert isinstance(model, Model)
    before = [weight.detach().clone() for weight in model.vae.encoder.parameters()]
    for _ in range(steps):
        training.step(training.loss, 0.0)
    training.add_point(last=True)
    assert training.curve[-1]["train_bound"] > training.curve[0]["train_bound"] + 1
    for weight, was in zip(model.vae.encoder.parameters(), before, strict=True):
        assert (weight - was).abs().max() > 1e-4
    last = training.curve[-1]
    assert last["gap"] == pytest.approx(last["train_bound"] - last["bound"])
    assert last["best_bound"] == max(point["bound"] for point in training.curve)
    assert last["several_draws_bound"] > last["bound"]
    assert last["epoch"] == 10


@pytest.mark.parametrize("name", ["relax", "gumbel"])  # one with weights of its own, one with a temperature
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(name: str, begun: Make) -> None:
    whole, steps = begun(name, "omniglot-dynamic")
    for _ in range(steps):
        whole.step(whole.loss, 0.0)
    first, _ = begun(name, "omniglot-dynamic")
    for _ in range(steps // 2):
        first.step(first.loss, 0.0)
    first.add_point(last=False)  # looking must not change what comes
    state = first.state_dict()
    second, _ = begun(name, "omniglot-dynamic")
    torch.manual_seed(99)
    second.load_state_dict(state)
    for _ in range(steps - steps // 2):
        second.step(second.loss, 0.0)
    expected = whole.model.state_dict()
    assert any("contestant" in key for key in expected)
    for key, value in second.model.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_what_an_estimator_learns_takes_no_part_in_a_measurement(begun: Make) -> None:
    training, _ = begun("bridge")
    model = training.model
    assert isinstance(model, Model)
    assert model.contestant.learns is not None
    with model.contestant.register_forward_hook(lambda *given: pytest.fail("measured with the contestant")):
        training.add_point(last=True)
    taught = {id(weight) for weight in model.contestant.parameters()}
    assert taught
    assert not taught & {id(weight) for weight in model.vae.parameters()}
    in_optimizer = {id(weight) for group in training.optimizers[0].param_groups for weight in group["params"]}
    assert in_optimizer == {id(weight) for weight in model.parameters()}


# ----------------------------------------------------------------------------------------------- the figure, options


def recorded(name: str, task: str, seed: int, bounds: list[float]) -> Record:
    curve = [{"epoch": float(epoch), "bound": bound, "gap": 1.0} for epoch, bound in enumerate(bounds)]
    config = DENSITY.run(configured(name, task), seed).config
    return Record(
        experiment="density",
        config=config,
        seed=seed,
        metrics={"bound": bounds[-1]},
        curve=curve,
        samples=1,
        seconds=1.0,
        started="2026-01-01T00:00:00+00:00",
        environment={},
    )


def heights(line: Line2D) -> list[float]:
    found: list[float] = np.asarray(line.get_ydata(), dtype=float).tolist()
    return found


def test_the_figure_has_a_line_for_each_contestant_and_one_for_each_published_bound() -> None:
    records = [recorded("bridge", "mnist-static", seed, [-200.0, -120.0 - seed]) for seed in (0, 1)]
    records += [recorded("disarm", "mnist-static", 0, [-190.0, -110.0])]
    records += [recorded("disarm", "mnist-dynamic", 0, [-190.0, -110.0])]
    with_levels, without = draw(group_by_config(records), Path())
    bound, gap = with_levels.figure.axes
    lines = {str(line.get_label()): heights(line) for line in bound.get_lines()}
    assert lines["bridge (n=2)"] == [-200.0, -120.5]
    assert lines["disarm"] == [-190.0, -110.0]
    levels = {line[0] for label, line in lines.items() if label.startswith("_")}
    assert levels == {-109.59, -111.12, -119.19}
    assert "9,933 epochs" in with_levels.caption
    low, high = bound.get_ylim()
    assert low < -120.5
    assert high > -109.59
    assert [heights(line) for line in gap.get_lines()[:2]] == [[1.0, 1.0]] * 2
    assert without.name == "density-mnist-dynamic"
    assert len(without.figure.axes[0].get_lines()) == 1


def test_the_mean_picture_is_that_of_the_binary_rows(samples: Path) -> None:
    for task in DENSITY.tasks:
        found = load_rows(configured("bridge", task, rows=0), Root(folder=samples))
        shown = [found.prepare(found.train.x, torch.Generator().manual_seed(seed)) for seed in range(40)]
        empirical = torch.stack(shown).mean((0, 1)).flatten()
        spread = 0.5 / (40 * len(found.train)) ** 0.5
        assert (found.mean() - empirical).abs().max() < 6 * spread + 1e-6


def test_a_prior_of_one_half_stays_there(begun: Make) -> None:
    for prior, moves in (("half", False), ("learnt", True)):
        training, _ = begun("disarm", prior=prior)
        for _ in range(3):
            training.step(training.loss, 0.0)
        model = training.model
        assert isinstance(model, Model)
        assert bool(model.vae.prior.abs().max() > 0) == moves


def test_the_logits_of_the_posterior_are_the_encoder_s() -> None:
    vae, x = small_vae(), rows()
    assert torch.equal(logits_of(vae.bits(x)), vae.encoder(x - vae.mean))


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match=r"evaluations must be even and at least 2, .*, got 3"):
        configured("disarm", evaluations=3)
    config = configured("rebar")
    with pytest.raises(OptionError, match="kl must be sampler for all but bridges, got 'published'"):
        type(config)(**{**vars(config), "kl": "published"})


def test_what_the_paper_has_no_number_of_is_not_missing() -> None:
    planned = DENSITY.pairs("small")
    assert set(DENSITY.published) <= set(planned)
    assert {task for task, _ in planned} == {task for task, _ in DENSITY.published}
    assert not {name for _, name in planned} & {"bridge-published-kl", "gumbel-hard", "arms", "bridge-control"}
