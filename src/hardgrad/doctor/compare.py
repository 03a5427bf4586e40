"""Draws against the truth: bias, direction and noise, each with the noise of both sides taken off.

A mean of n gradients is not the expected gradient: its squared distance to the truth is, on average, the squared bias
plus the variance of the mean plus that of the truth. Those two are known, and are subtracted. The draws and the truth
are each kept in independent groups, and group i of one is paired with group i of the other, so that standard errors
come from leaving out one pair at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.doctor.measure import Draws
from hardgrad.doctor.power import (
    OF_SINGLE,
    ROUNDING,
    Noise,
    Rounding,
    error_of_squared,
    noise_of,
    smallest_bias,
    squared,
)
from hardgrad.doctor.truth import Reference

_SIGNIFICANT = 4.0  # standard errors at which one coordinate of the truth counts as nonzero


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found; None where the question has no answer, such as the angle to a zero gradient.

    Args:
        bias: norm of mean minus truth, over the norm of the truth.
        bias_norm: the numerator.
        bias_z: how far from no bias, in standard errors of a normal variate.
        smallest_bias: relative, that would have been found nine times in ten.
        norm_ratio: norm of the expected gradient over that of the truth.
        cosine: between the expected gradient and the truth.
        cosine_error: its standard error.
        progress: what a step along one gradient gains at its best length, over what one along the truth gains, on an
            objective that is equally curved in all directions: (mean g . t)^2 / (mean |g|^2 |t|^2).
        sign_agreement: share of coordinates with a nonzero truth where the mean has its sign.
        signal_to_noise: squared norm of the truth over the variance; None for a variance of 0.
        dead: share of the truth's squared norm that is at coordinates which no gradient ever moved.
        uphill_rows: share of rows whose expected gradient points away from the truth, significantly.
    """

    bias: float | None
    bias_norm: float
    bias_z: float
    smallest_bias: float | None
    norm_ratio: float | None
    cosine: float | None
    cosine_error: float | None
    progress: float | None
    sign_agreement: float | None
    signal_to_noise: float | None
    dead: float | None
    uphill_rows: float


def compare(draws: Draws, truth: Reference, rows: int, rounding: Rounding = OF_SINGLE) -> Comparison:
    """Return how the expected gradient of a candidate relates to the truth.

    Args:
        draws: the candidate's.
        truth: the reference.
        rows: of the batch.
        rounding: of the candidate.
    """
    mean, t = draws.groups.flatten(1), truth.groups.flatten(1)
    scale = max(truth.squared_norm, 0.0)
    noise = noise_of(draws, truth, rounding)
    bias_squared, bias_z = _bias(mean - t, noise)
    resolved = is_resolved(truth)
    norm = math.sqrt(scale) if resolved else None
    bias_norm = math.sqrt(max(bias_squared, 0.0))
    cosine, cosine_error = _cosine(mean, t, truth.exact) if resolved else (None, None)
    own = max(float(squared(mean)), 0.0)
    nonzero = _nonzero(truth)
    return Comparison(
        bias=bias_norm / norm if norm else None,
        bias_norm=bias_norm,
        bias_z=bias_z,
        smallest_bias=smallest_bias(noise) / norm if norm else None,
        norm_ratio=math.sqrt(own) / norm if norm else None,
        cosine=cosine,
        cosine_error=cosine_error,
        progress=_progress(mean, t, own + draws.variance, scale) if resolved else None,
        sign_agreement=_share(draws.mean.flatten().sign() == t.mean(0).sign(), nonzero),
        signal_to_noise=scale / draws.variance if draws.variance > ROUNDING**2 * scale else None,
        dead=_dead(draws, truth, scale) if resolved else None,
        uphill_rows=_uphill_rows(mean, t, rows),
    )


def is_resolved(truth: Reference) -> bool:
    """Whether the truth is told apart from zero: by 3 standard errors of its squared norm."""
    if truth.exact:
        return truth.squared_norm > 0
    return truth.squared_norm > 3 * error_of_squared(truth.groups.flatten(1))


def angle(gradient: Tensor, truth: Reference) -> tuple[float | None, float | None]:
    """Return the cosine between a gradient without noise and the truth, and its standard error.

    Args:
        gradient: shape of x.
        truth: the reference.
    """
    if not bool(gradient.any()):
        return None, None
    known = gradient.flatten().expand(len(truth.groups), -1)
    if truth.exact:
        return float(torch.cosine_similarity(gradient.flatten(), truth.gradient.flatten(), 0)), 0.0
    return _cosine(truth.groups.flatten(1), known, True)


def _bias(difference: Tensor, noise: Noise) -> tuple[float, float]:
    """Squared norm of the bias, and how significant it is."""
    distance = float(difference.mean(0).square().sum())
    if distance <= noise.rounding:
        return 0.0, 0.0
    return distance - noise.measured, noise.significance(distance)


def _cosine(mean: Tensor, truth: Tensor, exact: bool) -> tuple[float | None, float | None]:
    """Cosine of two expectations and its jackknife standard error; None where the mean is lost in its noise."""
    if float(squared(mean)) <= 3 * error_of_squared(mean):
        return None, None
    whole = _cosine_of(mean, truth, exact)
    g = len(mean)
    keep = ~torch.eye(g, dtype=torch.bool, device=mean.device)
    parts = torch.tensor([_cosine_of(mean[k], truth[k], exact) for k in keep], dtype=torch.float64)
    error = math.sqrt((g - 1) / g * float((parts - parts.mean()).square().sum()))
    return max(min(whole, 1.0), -1.0), error


def _cosine_of(mean: Tensor, truth: Tensor, exact: bool) -> float:
    of_truth = truth[0].square().sum() if exact else squared(truth)
    squares = float(squared(mean) * of_truth)
    return float(mean.mean(0) @ truth.mean(0)) / math.sqrt(squares) if squares > 0 else 0.0


def _progress(mean: Tensor, truth: Tensor, squares: float, scale: float) -> float:
    products = (mean * truth).sum(1)
    if float(products.sum()) <= 0 or squares == 0:
        return 0.0
    return min(max(float(squared(products.unsqueeze(1))), 0.0) / (squares * scale), 1.0)


def _nonzero(truth: Reference) -> Tensor:
    """Which coordinates of the truth are told apart from zero."""
    t, error = truth.gradient.flatten(), truth.variance.flatten().sqrt()
    return t.abs() > ROUNDING * t.abs().max() + _SIGNIFICANT * error


def _share(kept: Tensor, among: Tensor) -> float | None:
    return float(kept[among].double().mean()) if bool(among.any()) else None


def _dead(draws: Draws, truth: Reference, scale: float) -> float:
    return min(float(truth.gradient[draws.moved == 0].square().sum()) / scale, 1.0)


def _uphill_rows(mean: Tensor, truth: Tensor, rows: int) -> float:
    """Share of rows whose inner product with the truth is below 0 by more than chance makes of so many rows."""
    a, b = mean.unflatten(1, (rows, -1)), truth.unflatten(1, (rows, -1))
    product = (a.mean(0) * b.mean(0)).sum(-1)
    g = len(a)
    # Jackknife over pairs of groups, all rows at once.
    without_a, without_b = (g * a.mean(0) - a) / (g - 1), (g * b.mean(0) - b) / (g - 1)
    parts = (without_a * without_b).sum(-1)
    error = ((g - 1) / g * (parts - parts.mean(0)).square().sum(0)).sqrt()
    floor = ROUNDING * (a.mean(0).norm(dim=-1) * b.mean(0).norm(dim=-1))
    return float((product < -(5 * error + floor)).double().mean())
