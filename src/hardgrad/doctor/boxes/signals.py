"""Boxes that take signals: how many samples late the output is, and whether chunks give what the whole gives."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import Asked, differs

_SHORTEST = 64  # samples of a signal
_TOTAL = 8192  # samples of noise that a lag is looked for in
_CLEAR = 8.0  # times the root mean square of lags further away; the largest of 8192 that are chance is at 4
_BEST = 0.5  # of the best, which no lag may reach that is not one of its neighbors
_AWAY = 8  # samples; a box that lets low frequencies through alone has a broad best


def signal_of(asked: Asked, out: Tensor) -> int | None:
    """Return which input is a signal as long as the output; None if there is none."""
    for which, x in enumerate(asked.inputs):
        if x.is_floating_point() and x.ndim > 1 and out.ndim > 1 and _SHORTEST <= x.shape[-1] == out.shape[-1]:
            return which
    return None


def delay(asked: Asked, which: int) -> int | None:
    """Ask for noise as loud as the input: its correlation with the output is the box's response."""
    x = asked.inputs[which]
    rows = torch.arange(max(1, min(16, _TOTAL // x[0].numel())))
    noise = torch.randn((len(rows), *x.shape[1:]), generator=asked.generator).to(x) * x.std().clamp(min=1e-6) + x.mean()
    noise = noise.clamp(asked.low[which].to(x), asked.high[which].to(x))
    y = asked(*(noise if k == which else other[rows % len(other)] for k, other in enumerate(asked.inputs)))
    lags, size = correlation(noise.double(), y)
    lag = lag_of(lags, size)
    if lag:
        turned = " and turned over" if size[lags == int(lag)] < 0 else ""
        words = f"the output is {lag:g} samples late{turned}; shift the target, or the output, by {int(lag)}"
        asked.find("delay", words, which, None, lag)
    return None if lag is None else int(lag)


def lag_of(lags: Tensor, size: Tensor) -> float | None:
    """Return the lag of the clear best of a correlation: the middle of those as good, between two that are all."""
    most, best = float(size.abs().max()), int(size.abs().argmax())
    rest = size[(lags - lags[best]).abs() > _AWAY]
    chance = float(rest.square().mean().sqrt())
    near = (size.abs() > _BEST * most).nonzero().flatten()
    alone = len(near) == near[-1] - near[0] + 1 and bool((size[near] * size[best] > 0).all())
    if most < _CLEAR * chance or not alone:
        return None
    good = lags[size.abs() >= most - 4 * chance].double()  # a median over five samples has five as good
    if bool((good == 0).any()):
        return 0.0
    around = torch.arange(-2, 3)
    two = size[(best + around) % len(size)].abs()
    if len(good) == 1 and float(two[[0, 4]].max()) < 4 * chance:
        return round(float(lags[best] + (two * around).sum() / two.sum()), 1)
    return round(2 * float(good.mean())) / 2


def correlation(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return lags, and at each the sum over rows of products of the output with the input so much earlier."""
    if x.shape != y.shape:  # other channels
        x, y = (t.flatten(1, -2).mean(1) if t.ndim > 2 else t for t in (x, y))
    n = x.shape[-1]
    fx, fy = (torch.fft.rfft(t - t.mean(-1, keepdim=True), 2 * n) for t in (x, y))
    size = torch.fft.irfft((fx.conj() * fy).flatten(0, -2).sum(0), 2 * n)
    lags = torch.arange(-n // 2, n // 2)
    return lags, size[lags]


def chunks(asked: Asked, which: int) -> None:
    """Ask for the whole, then for both halves."""
    length = asked.inputs[which].shape[-1]
    half, whole = length // 2, asked(*asked.inputs)
    for part in (slice(half), slice(half, length)):
        y = asked(*(x[..., part] if x.shape[-1] == length else x for x in asked.inputs))
    if y.shape != whole[..., half:].shape:
        asked.find("chunks", "half a signal does not give half an output; give it whole signals", which)
    elif differs(whole[..., half:], y):
        apart = (whole[..., half:] - y).abs().reshape(-1, length - half).amax(0)
        last = int((apart > 1e-4 * whole.abs().max()).nonzero().max()) + 1
        many = f"for {last} samples after the cut" if last < length - half else "to its end"
        words = f"cut in two it differs {many}; give it whole signals, or chunks that overlap"
        asked.find("chunks", words, which, None, last)
