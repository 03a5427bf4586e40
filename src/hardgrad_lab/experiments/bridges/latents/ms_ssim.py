"""Multi-scale structural similarity: how alike two pictures are in structure, 1 where they are equal.

A picture is compared at its own size, at a half, a quarter and so on. At each scale a Gaussian window of 11 x 11 pixels
(standard deviation 1.5) gives local means, variances and covariance; contrast and structure of all scales, and
luminance of the last, are multiplied, each raised to its scale's weight.

Five scales with that window need 176 pixels a side. Smaller pictures get as many scales as the window fits into, with
the first weights of the five, made to sum to what all five do: two at 28 x 28 (28 and 14) and at 32 x 32 (32 and 16).
Their values are no MS-SSIM of five scales, and compare with each other alone. The paper does not say what it did.

Source: Wang, Simoncelli and Bovik 2003, Multiscale structural similarity for image quality assessment (weights: section
3.2; window and constants: Wang, Bovik, Sheikh and Simoncelli 2004).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # as published: they sum to 1.0001
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def scales_of(side: int) -> int:
    """Return at how many scales the window fits into pictures of that shorter side, at most five.

    Raises:
        ValueError: if it fits at none.

    Example:
        >>> scales_of(28), scales_of(64), scales_of(512)
        (2, 3, 5)
    """
    if side < WINDOW:
        raise ValueError(f"ms_ssim: pictures must have {WINDOW} pixels a side at least, the window's, got {side}")
    return next(n for n in range(len(WEIGHTS), 0, -1) if side >> (n - 1) >= WINDOW)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the similarity of each pair of pictures.

    Args:
        a: (B, channels, height, width), grey levels from 0 to 1.
        b: the same.

    Returns:
        (B,), at most 1; the mean over the channels. Negative contrast and structure count as 0.

    Raises:
        ValueError: if the shapes differ or are too small.

    Example:
        >>> picture = torch.rand(1, 3, 32, 32)
        >>> round(ms_ssim(picture, picture).item(), 4)
        1.0
    """
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(
            f"ms_ssim: a and b must both be (B, channels, height, width), got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    scales = scales_of(min(a.shape[-2:]))
    share = sum(WEIGHTS[:scales]) / sum(WEIGHTS)
    weights = [weight / share for weight in WEIGHTS[:scales]]
    product = a.new_ones(a.shape[:2])
    for scale, weight in enumerate(weights):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        luminance, structure = _compare(a, b)
        last = scale == scales - 1
        # At the last scale luminance is averaged together with the rest, as the whole index of that scale.
        mean = (luminance * structure if last else structure).mean((-2, -1))
        product = product * mean.clamp(min=0) ** weight
    return product.mean(1)


def _compare(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance, and contrast times structure, at each place of the window: (B, channels, places, places)."""
    c1, c2 = K1**2, K2**2
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_a + variance_b + c2)


def _blurred(x: Tensor) -> Tensor:
    """Return weighted means under the window, wherever it lies wholly inside."""
    channels = x.shape[1]
    place = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    line = (-(place**2) / (2 * SIGMA**2)).exp()
    line = (line / line.sum()).expand(channels, 1, 1, WINDOW)
    across = F.conv2d(x, line, groups=channels)
    return F.conv2d(across, line.mT, groups=channels)
