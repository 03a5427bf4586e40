"""What is wrong with a sound, as a number to train by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hardgrad_lab.runs.named import load

Loss = Callable[[Tensor, Tensor], Tensor]
PRE_EMPHASIS = 0.85  # of the first-order high-pass 1 - 0.85 / z, as in Wright and others 2020
QUIET = 1e-7  # mean square, -70 dB: silence is no measure of an error
FFTS = (1024, 512, 256)
LOSSES = ("esr", "mse", "spectra")


def esr(y: Tensor, target: Tensor) -> Tensor:
    r"""Return the error-to-signal ratio of sounds (B, T), over all of them together.

    .. math:: \frac{\sum (y - t)^2}{\max(\sum t^2, \epsilon)}

    Source: Wright, Damskägg, Juvela, Välimäki 2020, Real-time guitar amplifier emulation with deep learning.
    """
    return (y - target).square().mean() / target.square().mean().clamp_min(QUIET)


def device_loss(name: str) -> Loss:
    """Return a loss of sounds (B, T) against their targets, a scalar.

    Args:
        name: "esr", with pre-emphasis and the error of the mean; "mse"; or "spectra", spectra of three resolutions
            besides, by auraloss.

    Raises:
        ValueError: for another name, or where auraloss is not installed.
    """
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    if name == "mse":
        return torch.nn.functional.mse_loss
    return _emphasized if name == "esr" else _spectra()


def _emphasized(y: Tensor, target: Tensor) -> Tensor:
    offset = (y - target).mean(1).square().mean() / target.square().mean().clamp_min(QUIET)
    return esr(_bright(y), _bright(target)) + offset


def _bright(x: Tensor) -> Tensor:
    """Return sounds through the high-pass; the first sample, which has none before it, goes."""
    return x[:, 1:] - PRE_EMPHASIS * x[:, :-1] if x.shape[1] > 1 else x


def _spectra() -> Loss:
    try:
        made = load("auraloss.freq:MultiResolutionSTFTLoss")
    except ImportError:
        raise ValueError(
            "loss 'spectra' needs auraloss, which is not installed: pip install 'hardgrad[audio]', or choose --loss esr"
        ) from None
    measure = made(FFTS, [size // 4 for size in FFTS], list(FFTS))

    def loss(y: Tensor, target: Tensor) -> Tensor:
        if y.shape[1] < max(FFTS):
            raise ValueError(f"loss 'spectra' needs at least {max(FFTS)} samples at a time, got {y.shape[1]}")
        spectra: Tensor = measure(y[:, None], target[:, None])
        return _emphasized(y, target) + spectra

    return loss
