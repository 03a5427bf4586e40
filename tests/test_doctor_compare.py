"""The statistics by themselves, on groups of made-up gradients whose expectation and noise are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hardgrad.doctor.compare import Comparison, compare
from hardgrad.doctor.diagnosis import Row
from hardgrad.doctor.measure import Draws
from hardgrad.doctor.truth import GROUPS, Reference

ROWS, UNITS, COUNT = 6, 50, 1000
N = ROWS * UNITS
T = torch.randn(ROWS, UNITS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T /= T.norm()


def made_up(expected: Tensor, noise: float, truth_noise: float, seed: int, truth: Tensor = T) -> Comparison:
    """Compare a mean and a truth whose noises have these lengths, as of ``COUNT`` gradients of normal noise."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def groups(middle: Tensor, length: float) -> Tensor:
        deviation = length * math.sqrt(GROUPS / N)
        return middle + deviation * torch.randn(GROUPS, *middle.shape, generator=generator, dtype=torch.float64)

    moved = torch.full(T.shape, float(COUNT))
    draws = Draws(COUNT, groups(expected, noise), moved, noise**2 * COUNT, cosine_of_one=0.0, learns=False)
    reference = groups(truth, truth_noise) if truth_noise else truth.expand(GROUPS, *truth.shape)
    return compare(draws, Reference("long run", reference, truth_noise == 0, 1), ROWS)


def aside(angle: float) -> Tensor:
    """A gradient as long as the truth, turned away from it."""
    other = torch.randn(ROWS, UNITS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other -= (other * T).sum() * T
    return math.cos(angle) * T + math.sin(angle) * other / other.norm()


NOISES = [(0.5, 0.0), (1.1, 0.0), (0.2, 0.5), (1.0, 0.7)]


@pytest.mark.parametrize(("noise", "truth_noise"), NOISES)
def test_no_bias_is_a_standard_normal_variate(noise: float, truth_noise: float) -> None:
    """Of 200 tries; the mean within 4.5 / sqrt(200), the deviation within 4.5 / sqrt(400) of 1, and no outlier."""
    z = torch.tensor([made_up(T, noise, truth_noise, seed).bias_z for seed in range(200)])
    assert abs(float(z.mean())) < 4.5 / math.sqrt(200)
    assert abs(float(z.std()) - 1) < 4.5 / math.sqrt(400)
    assert float(z.max()) < 4.5


@pytest.mark.parametrize(("noise", "truth_noise"), NOISES)
def test_bias_and_length_are_those_without_noise(noise: float, truth_noise: float) -> None:
    """A bias of 0.6; of 60 tries, squares averaged: each has a standard error below 0.35 of that, by the formula."""
    expected, total = aside(2 * math.asin(0.3)), noise**2 + truth_noise**2
    found = [made_up(expected, noise, truth_noise, seed) for seed in range(60)]
    error = math.sqrt(2 * total**2 / N + 4 * 0.36 * total / N)
    squares = torch.tensor([c.bias_norm**2 for c in found]).mean()
    assert float(squares) == pytest.approx(0.36, abs=4.5 * error / math.sqrt(60))
    lengths = torch.tensor([(c.norm_ratio or 0) ** 2 for c in found])
    error = math.sqrt(2 * noise**4 / N + 4 * total / N + 2 * truth_noise**4 / N)
    assert float(lengths.mean()) == pytest.approx(1, abs=4.5 * error / math.sqrt(60) + 0.02)
    assert float(torch.tensor([c.bias for c in found]).square().mean()) == pytest.approx(0.36, rel=0.25)


@pytest.mark.parametrize(("noise", "truth_noise"), NOISES)
def test_the_cosine_and_its_standard_error(noise: float, truth_noise: float) -> None:
    """60 degrees: the noise would draw it down to 0.5 / sqrt((1 + 1) (1 + 0.49)) in the last case, 0.29."""
    found = [made_up(aside(math.pi / 3), noise, truth_noise, seed) for seed in range(100)]
    cosine, error = (torch.tensor([getattr(c, name) for c in found]) for name in ("cosine", "cosine_error"))
    assert float(cosine.mean()) == pytest.approx(0.5, abs=4.5 * float(cosine.std()) / 10)
    assert float(error.square().mean().sqrt() / cosine.std()) == pytest.approx(1, abs=4.5 / math.sqrt(200))


def test_a_mean_lost_in_its_noise_has_no_angle() -> None:
    lost = [made_up(0.1 * T, 3.0, 0.0, seed) for seed in range(20)]
    assert sum(c.cosine is None for c in lost) >= 18
    assert all(c.bias_z < 4.5 for c in [made_up(T, 30.0, 0.0, seed) for seed in range(20)])


def test_progress_of_one_gradient() -> None:
    """(mean g . t)^2 over |t|^2 and the mean square of one gradient: cos^2 / (1 + variance)."""
    for noise in (0.1, 0.5):
        found = made_up(aside(math.pi / 3), noise, 0.0, 0)
        assert found.progress == pytest.approx(0.25 / (1 + noise**2 * COUNT), rel=0.25)
        assert found.signal_to_noise == pytest.approx(1 / (noise**2 * COUNT), rel=1e-6)
    assert made_up(-T, 0.1, 0.0, 0).progress == 0
    assert made_up(T, 0.0, 0.0, 0).progress == pytest.approx(1)
    # Without any bearing on the truth there is no progress, though a mean of few always has some.
    drawn = [made_up(aside(math.pi / 2), 1.0, 0.0, seed).progress for seed in range(50)]
    assert sum(drawn) / 50 * COUNT < 0.01


def test_signs_are_compared_where_the_truth_has_one() -> None:
    """Half the coordinates have a truth of zero; their signs are noise, and not asked."""
    truth = T.clone()
    truth[:, ::2] = 0
    found = made_up(truth, 0.0, 0.05 * float(truth.norm()), 0, truth=truth)
    assert found.sign_agreement > 0.97
    flipped = truth.clone()
    flipped[:, 1::4] *= -1
    found = made_up(flipped, 0.0, 1e-6, 0, truth=truth)
    assert found.sign_agreement == pytest.approx(1 - 13 / 25)


def test_uphill_rows_are_significant() -> None:
    turned = T.clone()
    turned[:2] *= -1
    assert made_up(turned, 0.1, 0.0, 0).uphill_rows == pytest.approx(2 / 6)
    assert made_up(turned, 0.1, 0.1, 0).uphill_rows == pytest.approx(2 / 6)
    noisy = [made_up(torch.zeros_like(T), 1.0, 0.1, seed).uphill_rows for seed in range(100)]
    assert sum(noisy) == 0


@pytest.mark.parametrize(("cosine", "error", "uphill"), [(-0.5, 0.2, True), (-0.5, 0.26, False), (-1e-3, 0.0, True)])
def test_uphill_is_a_cosine_below_zero_by_two_standard_errors(cosine: float, error: float, uphill: bool) -> None:
    assert Row("it", "layer", cosine=cosine, cosine_error=error).uphill == uphill
    assert not Row("it", "layer", cosine=-cosine, cosine_error=error).uphill
    assert not Row("it", "layer").uphill


def test_a_truth_lost_in_its_noise_is_not_resolved() -> None:
    found = made_up(T, 0.1, 0.0, 0, truth=torch.zeros_like(T))
    assert (found.bias, found.cosine, found.progress) == (None, None, None)
    unresolved = [made_up(T, 0.1, 6.0, seed).bias is None for seed in range(20)]
    assert sum(unresolved) >= 18
