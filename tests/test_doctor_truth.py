"""Which noise the doctor takes, what it then holds candidates against, and layers beside estimators, in closed form."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical

import hardgrad as hg
from hardgrad.doctor._diagnose import _budget
from hardgrad.doctor.sampled import score
from hardgrad.doctor.smoothing import smooth

X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4]])
WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [1.5, 1.0, -1.0]])
SIGMA = 0.7
WAYS = ["finite difference", "long run"]


def weighed(y: Tensor) -> Tensor:
    return (y * WEIGHT).flatten(2).sum(-1)


def black_box(x: Tensor) -> Tensor:
    return torch.as_tensor(np.floor(x.numpy()).sum(1, keepdims=True))


def truth_of(function: object, x: Tensor = X, **options: object) -> tuple[hg.doctor.Truth, Tensor]:
    options = {"sigma": SIGMA, "objective": weighed, "draws": 20} | options
    found = hg.diagnose({"it": hg.score_function}, function, x, **options)
    return found.truth, torch.tensor(found.truth.gradient).view(x.shape)


def assert_near_truth(truth: hg.doctor.Truth, found: Tensor, expected: Tensor) -> None:
    """The distance is that of the noise, 4.5 standard errors at most, and the noise is little."""
    assert float((found - expected).norm()) < 4.5 * truth.standard_error + 1e-6
    assert truth.standard_error < 0.05 * float(expected.norm())
    assert truth.norm == pytest.approx(float(expected.norm()), abs=4.5 * truth.standard_error + 1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_sign_under_gaussian_noise_is_the_error_function(way: str) -> None:
    """E sign(x + sigma v) = erf(x / (sigma sqrt 2))."""
    truth, found = truth_of(hg.hard.sign, noise="gaussian", truth=way)
    density = torch.exp(-(X**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    assert truth.kind == way
    assert truth.evaluations <= 200_000
    assert_near_truth(truth, found, WEIGHT * 2 * density)


@pytest.mark.parametrize("way", ["enumeration", *WAYS])
def test_a_step_under_logistic_noise_is_the_sigmoid(way: str) -> None:
    truth, found = truth_of(hg.hard.step, truth=way)
    p = torch.sigmoid(X / SIGMA)
    assert_near_truth(truth, found, WEIGHT * p * (1 - p) / SIGMA)


@pytest.mark.parametrize("way", ["enumeration", *WAYS])
def test_an_argmax_under_gumbel_noise_is_the_softmax(way: str) -> None:
    truth, found = truth_of(hg.hard.one_hot_argmax, truth=way, budget=400_000)
    p = torch.softmax(X / SIGMA, -1)
    assert_near_truth(truth, found, p * (WEIGHT - (p * WEIGHT).sum(-1, keepdim=True)) / SIGMA)


@pytest.mark.parametrize("way", WAYS)
def test_a_square_under_gaussian_noise_stays_one(way: str) -> None:
    """E (x + sigma v)^2 = x^2 + sigma^2; the objective of it is not linear: the mean of four squares is x^4 + ..."""
    truth, found = truth_of(torch.square, truth=way)
    assert_near_truth(truth, found, WEIGHT * 2 * X)


def test_the_way_with_less_noise_is_taken() -> None:
    """Of a smooth function neighbouring values differ little, so their difference knows more than the values."""
    assert truth_of(torch.square, sigma=0.1)[0].kind == "finite difference"
    jumps = truth_of(lambda x: (x * 3).round() * (x > 0), sigma=0.3)[0]
    assert jumps.kind == "long run"
    assert truth_of(hg.hard.sign)[0].kind == "enumeration"
    many = torch.randn(2, 14, generator=torch.Generator().manual_seed(0))  # 2^14 outcomes
    assert truth_of(hg.hard.sign, many, objective=lambda y: y.sum(-1))[0].kind in WAYS


def test_no_event_is_no_precision() -> None:
    """A jump three sigma away, at one of twenty coordinates: the few noises that differences pay for do not meet it."""

    def jump(x: Tensor) -> Tensor:
        return 1000.0 * (x[:, :1] > 3)

    x = torch.zeros(2, 20)
    truth, found = truth_of(jump, x, sigma=1.0, objective=lambda y: y.sum(-1))
    assert truth.kind == "long run"
    density = 1000 * math.exp(-4.5) / math.sqrt(2 * math.pi)
    expected = torch.zeros(2, 20)
    expected[:, 0] = density
    assert float((found - expected).norm()) < 4.5 * truth.standard_error


def test_a_long_run_leans_on_what_it_found() -> None:
    """A linear objective of thresholds: past the first round little noise is left. Without, 1 % takes 32000."""
    truth, _ = truth_of(hg.hard.step, truth="long run")
    assert truth.evaluations <= 16_000
    assert truth.standard_error < 0.01 * truth.norm


def test_rows_do_not_share_their_noise_nor_their_objective() -> None:
    """One row of large gradients beside one of small: each is found, though they are estimated together."""
    scale = torch.tensor([[100.0], [0.1]])
    _, found = truth_of(hg.hard.step, objective=lambda y: weighed(y * scale), truth="long run", budget=400_000)
    p = torch.sigmoid(X / SIGMA)
    expected = scale * WEIGHT * p * (1 - p) / SIGMA
    assert float((found[1] - expected[1]).norm() / expected[1].norm()) < 0.1
    assert float((found[0] - expected[0]).norm() / expected[0].norm()) < 0.1


@pytest.mark.parametrize(
    ("function", "noise"),
    [
        (hg.hard.one_hot_argmax, "gumbel"),
        (partial(hg.hard.one_hot_argmax, dim=-1), "gumbel"),
        (lambda x: torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]), "gumbel"),
        (hg.hard.sign, "logistic"),
        (hg.hard.step, "logistic"),
        (lambda x: torch.where(x > 0, -3.0, 7.0), "logistic"),
        (partial(hg.hard.sign, margin=0.05), "gaussian"),
        (partial(hg.hard.step, threshold=0.05), "gaussian"),
        (hg.hard.binarize, "gaussian"),
        (hg.hard.sort, "gaussian"),
        (hg.hard.bernoulli, "gaussian"),
        (partial(hg.hard.one_hot_argmax, dim=0), None),
        (partial(hg.hard.top_k, k=1), "gaussian"),
        (lambda x: x.argmax(-1), "gaussian"),
        (black_box, "gaussian"),
        (torch.zeros_like, "gaussian"),
        (lambda x: hg.hard.one_hot_argmax(-x), "gaussian"),
    ],
)
def test_the_noise_is_recognized(function: object, noise: str | None) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    if noise is None:
        with pytest.raises(ValueError, match="each row of the batch by itself"):
            hg.diagnose(hg.score_function, function, x, draws=20, budget=2000)
        return
    found = hg.diagnose(hg.score_function, function, x, draws=20, budget=2000)
    assert found.noise == noise
    assert f"{noise} noise" in found.about
    spread = {"gaussian": 1.0, "logistic": math.pi / math.sqrt(3), "gumbel": math.pi / math.sqrt(6)}[noise]
    assert found.sigma * spread == pytest.approx(0.5 * float(x.std(correction=0)), rel=1e-3)


def test_one_entry_tells_an_argmax_from_nothing() -> None:
    """One-hot vectors of length one are all ones."""
    found = hg.diagnose(hg.score_function, hg.hard.one_hot_argmax, torch.randn(4, 1), draws=20, budget=2000)
    assert found.noise == "gaussian"


@pytest.mark.parametrize("low_high", [(-1.0, 1.0), (5.0, 2.0)])
def test_layers_and_estimators_meet_one_truth(low_high: tuple[float, float]) -> None:
    """The exact gradient as a layer: of the sigmoid that the step becomes; and as an estimator."""
    low, high = low_high

    def hard(x: Tensor) -> Tensor:
        return torch.where(x > 0, high, low)

    class Soft(torch.nn.Module):
        """Its Jacobian at the noisy input averages to the truth: the logistic density of v, twice convolved, is not
        asked for, since the objective is linear and the slope is handed over as a constant."""

        def forward(self, z: Tensor) -> Tensor:
            p = torch.sigmoid(X / SIGMA).repeat(len(z) // len(X), 1)
            return hg.graft(hard(z.detach()), z * p * (1 - p) / SIGMA * (high - low))

    found = hg.diagnose({"layer": Soft(), "exact": hg.exact}, hard, X, objective=weighed, sigma=SIGMA, draws=100)
    p = torch.sigmoid(X / SIGMA)
    expected = WEIGHT * p * (1 - p) / SIGMA * (high - low)
    torch.testing.assert_close(torch.tensor(found.truth.gradient).view(X.shape), expected)
    for name in ("layer", "exact"):
        assert found[name].unbiased
        assert found[name].bias < 1e-4
        torch.testing.assert_close(torch.tensor(found[name].mean).view(X.shape), expected)
    assert (found["layer"].kind, found["exact"].kind) == ("layer", "estimator")


def test_autograd_of_a_square_is_unbiased_and_its_variance_known() -> None:
    """The gradient of one draw is 2 w (x + sigma v): variance 4 w^2 sigma^2 a coordinate."""
    found = hg.diagnose(torch.square, torch.square, X, objective=weighed, sigma=SIGMA, draws=2000)["square"]
    assert found.unbiased
    variance = float((4 * WEIGHT**2 * SIGMA**2).sum())
    assert found.variance == pytest.approx(variance, rel=4.5 * math.sqrt(2 / 2000))
    assert found.signal_to_noise == pytest.approx(float((4 * WEIGHT**2 * X**2).sum()) / variance, rel=0.1)


def test_straight_through_of_a_sign_by_hand() -> None:
    """With a linear objective the identity lends the weights themselves, at every draw."""
    p = torch.sigmoid(X / SIGMA)
    truth = WEIGHT * 2 * p * (1 - p) / SIGMA
    found = hg.diagnose(
        {"identity": hg.straight_through(hg.hard.sign)}, hg.hard.sign, X, objective=weighed, sigma=SIGMA, draws=40
    )["identity"]
    assert found.bias == pytest.approx(float((WEIGHT - truth).norm() / truth.norm()), rel=1e-4)
    assert found.cosine == pytest.approx(float((WEIGHT * truth).sum() / WEIGHT.norm() / truth.norm()), rel=1e-4)
    assert found.cosine_of_one == pytest.approx(found.cosine, rel=1e-4)
    assert found.signal_to_noise is None
    assert found.norm_ratio == pytest.approx(float(WEIGHT.norm() / truth.norm()), rel=1e-4)
    assert found.sign_agreement == 1


def test_the_default_objective_asks_for_the_next_rows_output() -> None:
    """Half of |sign(x_i) - sign(x_j)|^2 is 2 for each sign that differs: minus twice the target's sign, averaged."""
    truth, found = truth_of(hg.hard.sign, objective=None)
    p = torch.sigmoid(X / SIGMA)
    torch.testing.assert_close(found, -torch.sign(X.roll(1, 0)) * 2 * p * (1 - p) / SIGMA)
    assert truth.kind == "enumeration"
    alone, _ = truth_of(hg.hard.sort, X[:1], objective=None)  # no next row: one like it
    assert alone.resolved


def test_distributions_of_every_kind() -> None:
    w = torch.tensor([1.0, -2.0, 0.5])
    p = torch.softmax(X, -1)
    slope = p * (w - (p * w).sum(-1, keepdim=True))
    cases = [
        (OneHotCategorical(logits=X), lambda b: b @ w, slope),
        (OneHotCategorical(probs=p), lambda b: b @ w, slope),
        (Categorical(logits=X), lambda b: w[b], slope),
        (Bernoulli(logits=X), lambda b: b * w, w * torch.sigmoid(X) * torch.sigmoid(-X)),
        (Independent(Bernoulli(logits=X), 2), lambda b: (b @ w).sum(-1), w * torch.sigmoid(X) * torch.sigmoid(-X)),
        (Independent(Bernoulli(logits=X[0]), 1), lambda b: b @ w, w * torch.sigmoid(X[0]) * torch.sigmoid(-X[0])),
        (Independent(OneHotCategorical(logits=X), 1), lambda b: (b @ w).sum(-1), slope),
    ]
    for q, f, expected in cases:
        found = hg.diagnose({"it": hg.score_function}, f, q, draws=400)
        assert found.truth.kind == "enumeration"
        torch.testing.assert_close(torch.tensor(found.truth.gradient).view(expected.shape), expected)
        assert found["it"].error is None
        assert not found["it"].biased
        assert tuple(found.shape) == tuple(expected.shape)


@pytest.mark.parametrize("way", WAYS)
def test_a_given_normal_with_a_scale_for_each_coordinate(way: str) -> None:
    """E of the square of a Normal is mean^2 + scale^2."""
    scale = torch.tensor([0.5, 1.0, 2.0])
    q = Independent(Normal(X, scale), 1)
    found = hg.diagnose(
        {"it": partial(hg.score_function, samples=4, baseline="leave_one_out")},
        lambda b: b.square().sum(-1), q, draws=1000, truth=way,
    )  # fmt: skip
    assert_near_truth(found.truth, torch.tensor(found.truth.gradient).view(X.shape), 2 * X)
    assert not found["it"].biased
    assert found.sigma is None


def test_a_masked_outcome_has_no_gradient_and_does_no_harm() -> None:
    logits = X.masked_fill(torch.tensor([[False, False, True], [False, False, False]]), -math.inf)
    w = torch.tensor([1.0, -2.0, 0.5])
    for way in ("enumeration", *WAYS):
        found = hg.diagnose({"it": hg.score_function}, lambda b: b @ w, OneHotCategorical(logits=logits), truth=way)
        assert found.truth.gradient[2] == 0
        assert math.isfinite(found.truth.norm)
        assert found["it"].error is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    found = hg.diagnose(
        hg.doctor.candidates(hg.hard.sign, X.to(dtype)), hg.hard.sign, X.to(dtype),
        objective=lambda y: (y * WEIGHT.to(y)).sum(-1), sigma=SIGMA, draws=200,
    )  # fmt: skip
    p = torch.sigmoid(X.to(dtype).double() / SIGMA)
    expected = WEIGHT * 2 * p * (1 - p) / SIGMA
    torch.testing.assert_close(
        torch.tensor(found.truth.gradient).view(X.shape).double(), expected, rtol=1e-4, atol=1e-4
    )
    assert [row.name for row in found.rows if row.error] == []
    assert found["straight_through"].cosine > 0.7


@pytest.mark.parametrize("slope", [0.0, 1.0, -3.0], ids=["none", "right", "wrong"])
@pytest.mark.parametrize("noise", ["gaussian", "logistic", "gumbel"])
def test_a_long_run_may_lean_on_any_slope(noise: str, slope: float) -> None:
    """What is taken out of the function comes back as its known gradient; only the noise depends on the guess."""
    hard = hg.hard.one_hot_argmax if noise == "gumbel" else hg.hard.step
    smoothed = smooth(hard, X, weighed, noise, SIGMA, torch.Generator().manual_seed(0))
    p = torch.softmax(X / SIGMA, -1) if noise == "gumbel" else torch.sigmoid(X / SIGMA)
    expected = {
        "gaussian": WEIGHT * torch.exp(-(X**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi)),
        "logistic": WEIGHT * p * (1 - p) / SIGMA,
        "gumbel": p * (WEIGHT - (p * WEIGHT).sum(-1, keepdim=True)) / SIGMA,
    }[noise]
    generator = torch.Generator().manual_seed(1)
    runs = torch.stack([score(smoothed, 2000, slope * expected, generator) for _ in range(20)])
    error = runs.std(0) / math.sqrt(20)
    assert bool(((runs.mean(0) - expected).abs() < 4.5 * error + 1e-6).all())
    if slope == 1 and noise != "gaussian":  # a linear function of the sample: nothing is left of its noise
        assert float(error.max()) < 1e-3 * float(expected.abs().max())


@pytest.mark.parametrize(
    ("noise", "mean", "variance"),
    [("gaussian", 0, 1), ("logistic", 0, math.pi**2 / 3), ("gumbel", 0.5772157, math.pi**2 / 6)],
)
def test_noise_is_what_it_is_called_and_makes_the_distribution(noise: str, mean: float, variance: float) -> None:
    """60000 of each: the mean within 4.5 standard errors, the variance within 3 %, as are frequencies of samples."""
    hard = hg.hard.one_hot_argmax if noise == "gumbel" else hg.hard.sign
    smoothed = smooth(hard, X, weighed, noise, SIGMA, torch.Generator().manual_seed(0))
    v = smoothed.noise(10_000, torch.Generator().manual_seed(1)).double() / SIGMA
    assert float(v.mean()) == pytest.approx(mean, abs=4.5 * math.sqrt(variance / 60_000))
    assert float(v.var()) == pytest.approx(variance, rel=0.03)
    drawn = smoothed.sample(X + SIGMA * v.float())
    q = smoothed.distribution(X)
    assert bool(((drawn.mean(0) - q.mean).abs() < 4.5 * (q.variance / 10_000).sqrt()).all())


def test_a_long_run_is_not_troubled_by_a_constant() -> None:
    truth, found = truth_of(hg.hard.sign, noise="gaussian", truth="long run", objective=lambda y: weighed(y) + 100)
    density = torch.exp(-(X**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    assert_near_truth(truth, found, WEIGHT * 2 * density)


def test_large_inputs_get_a_smaller_budget() -> None:
    for x, evaluations in (
        (torch.zeros(8, 10), 200_000),
        (torch.zeros(64, 64), 32768),
        (torch.zeros(2**10, 2**10), 1000),
    ):
        assert _budget(smooth(hg.hard.step, x, None, "gaussian", 1.0, torch.Generator())) == evaluations


def test_chunks_make_no_difference_but_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few samples, in the truth and in the draws of a candidate."""
    monkeypatch.setattr("hardgrad.doctor.sampled.LARGEST", 100)
    monkeypatch.setattr("hardgrad.doctor.apart.LARGEST", 2000)
    p = torch.sigmoid(X / SIGMA)
    expected = WEIGHT * p * (1 - p) / SIGMA
    for way in WAYS:
        truth, found = truth_of(hg.hard.step, truth=way, budget=4000)
        assert float((found - expected).norm()) < 4.5 * truth.standard_error
    found = hg.diagnose(torch.square, torch.square, X, objective=weighed, sigma=SIGMA, draws=1000)["square"]
    assert not found.biased
    variance = float((4 * WEIGHT**2 * SIGMA**2).sum())
    assert found.variance == pytest.approx(variance, rel=4.5 * math.sqrt(2 / 1000))
