"""Linear separability against scikit-learn, and MS-SSIM against pytorch-msssim, torchmetrics and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytorch_msssim
import torch
from scipy.ndimage import correlate1d
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from hardgrad_lab.experiments.bridges.classify.separability import fit, separability
from hardgrad_lab.experiments.bridges.latents.ms_ssim import WEIGHTS, ms_ssim, scales_of


def pair(side: int, channels: int = 1, rows: int = 3) -> tuple[Tensor, Tensor]:
    """Smooth pictures and noisy copies of them."""
    generator = torch.Generator().manual_seed(side)
    coarse = torch.rand(rows, channels, 8, 8, generator=generator)
    a = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    noise = torch.randn(a.shape, generator=generator) * torch.tensor([0.03, 0.1, 0.3])[:rows].view(-1, 1, 1, 1)
    return a, (a + noise).clamp(0, 1)


@pytest.mark.parametrize(("side", "channels"), [(176, 1), (176, 3), (256, 1)])
def test_five_scales_are_those_of_pytorch_msssim(side: int, channels: int) -> None:
    a, b = pair(side, channels)
    a, b = a.double(), b.double()
    expected = pytorch_msssim.ms_ssim(a, b, data_range=1.0, size_average=False)
    assert torch.allclose(ms_ssim(a, b), expected, atol=1e-6)
    assert expected.min() < 0.9  # pictures that differ


def test_five_scales_of_grey_pictures_are_those_of_torchmetrics() -> None:
    a, b = (x.double() for x in pair(192))
    expected = multiscale_structural_similarity_index_measure(
        a, b, data_range=1.0, kernel_size=11, sigma=1.5, reduction="none", betas=WEIGHTS, normalize="relu"
    )
    # At the last scale torchmetrics lets the window look past the edge, into a mirror.
    assert torch.allclose(ms_ssim(a, b), expected, atol=2e-3)


def by_hand(a: np.ndarray, b: np.ndarray, scales: int) -> float:
    """Return the similarity of two grey pictures, in double precision and with SciPy's filter."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    line /= line.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            x = correlate1d(x, line, axis=axis)
        return x[5:-5, 5:-5]

    weights = np.array(WEIGHTS[:scales]) / np.sum(WEIGHTS[:scales]) * 1.0001
    product = 1.0
    for scale in range(scales):
        if scale:
            a, b = (x.reshape(len(x) // 2, 2, -1, 2).mean((1, 3)) for x in (a, b))
        ma, mb = mean(a), mean(b)
        va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        contrast = (2 * cov + 0.03**2) / (va + vb + 0.03**2)
        if scale == scales - 1:
            contrast = contrast * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
        product *= max(contrast.mean(), 0) ** weights[scale]
    return float(product)


@pytest.mark.parametrize(("side", "scales"), [(28, 2), (32, 2), (64, 3)])
def test_small_pictures_have_as_many_scales_as_the_window_fits_into(side: int, scales: int) -> None:
    a, b = pair(side)
    assert scales_of(side) == scales
    expected = [by_hand(x[0].double().numpy(), y[0].double().numpy(), scales) for x, y in zip(a, b, strict=True)]
    assert ms_ssim(a, b).tolist() == pytest.approx(expected, abs=1e-4)


def test_likeness_knows_its_bounds() -> None:
    a, b = pair(28)
    assert ms_ssim(a, a).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert ms_ssim(a, 1 - a).max() < 0.2  # contrast and structure upside down count as 0
    assert torch.allclose(ms_ssim(a, b), ms_ssim(b, a), atol=1e-6)
    with pytest.raises(ValueError, match="11 pixels a side at least"):
        ms_ssim(a[..., :10, :10], b[..., :10, :10])
    with pytest.raises(ValueError, match="must both be"):
        ms_ssim(a, b[..., :20, :20])


def codes(rows: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    """Bits whose probabilities depend on the class: no line tells all of them."""
    generator = torch.Generator().manual_seed(rows)
    y = torch.randint(classes, (rows,), generator=generator)
    probability = torch.rand(classes, features, generator=torch.Generator().manual_seed(7)) * 0.5 + 0.25
    return torch.bernoulli(probability[y], generator=generator), y


@pytest.mark.parametrize("decay", [1.0, 0.01])
def test_the_classifier_is_scikit_learns(decay: float) -> None:
    x, y = codes(1500, 20, 5)
    test_x, test_y = codes(700, 20, 5)
    other = LogisticRegression(C=decay, tol=1e-8, max_iter=5000).fit(x.double().numpy(), y.numpy())
    ours = fit(x.to(torch.int8), y, 5, decay=decay)
    assert np.allclose(ours.weight.numpy(), other.coef_, atol=2e-3)
    # Adding one number to all intercepts changes nothing, so only their differences are compared.
    assert np.allclose(
        ours.bias.numpy() - ours.bias.mean().item(), other.intercept_ - other.intercept_.mean(), atol=5e-3
    )
    expected = other.score(test_x.numpy(), test_y.numpy())
    assert 0.4 < expected < 0.9
    assert separability((x, y), (test_x, test_y), 5, decay=decay) == pytest.approx(expected, abs=2 / 700)


def test_the_classifier_is_the_same_every_time_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = codes(900, 12, 3)
    whole = fit(x, y, 3)
    torch.manual_seed(99)
    assert torch.equal(fit(x, y, 3).weight, whole.weight)
    monkeypatch.setattr("hardgrad_lab.experiments.bridges.classify.separability.CHUNK", 128)
    assert torch.allclose(fit(x, y, 3).weight, whole.weight, atol=2e-3)


def test_a_code_that_says_nothing_separates_nothing() -> None:
    y = torch.arange(400) % 4
    nothing = torch.ones(400, 6)
    assert separability((nothing, y), (nothing, y), 4) == 0.25
    everything = torch.nn.functional.one_hot(y, 4).float()
    assert separability((everything, y), (everything, y), 4) == 1.0
    assert math.isclose(fit(nothing, y, 4).weight.abs().max().item(), 0.0, abs_tol=1e-4)


def test_the_classifier_refuses_what_makes_no_sense() -> None:
    x, y = codes(10, 3, 2)
    with pytest.raises(ValueError, match="as many rows"):
        fit(x, y[:5], 2)
    with pytest.raises(ValueError, match="labels must be from 0 to 0"):
        fit(x, y, 1)
