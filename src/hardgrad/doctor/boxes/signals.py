"""Boxes that take signals: how many samples late the output is, and whether chunks give what the whole gives."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import Asked, differs
from hardgrad.doctor.boxes.report import Finding

_SHORTEST = 64  # samples of a signal
_TOTAL = 8192  # samples of noise that a lag is looked for in
_CLEAR = 8.0  # times the root mean square of the other lags; the largest of 8192 that are chance is at 4
_BEST = 0.7  # of the best, what no lag further away may reach


def signal_of(asked: Asked, out: Tensor) -> int | None:
    """Return which input is a signal as long as the output; None if there is none."""
    for which, x in enumerate(asked.inputs):
        if x.is_floating_point() and x.ndim > 1 and x.shape[-1] >= _SHORTEST and out.shape[-1] == x.shape[-1]:
            return which
    return None


def delay(asked: Asked, which: int) -> tuple[int | None, list[Finding]]:
    """Ask for noise as loud as the input: its correlation with the output is the box's response."""
    x = asked.inputs[which]
    rows = max(1, min(16, _TOTAL // x[0].numel()))
    places = torch.arange(rows) % len(x)
    noise = torch.randn((rows, *x.shape[1:]), generator=asked.generator).to(x) * x.std().clamp(min=1e-6) + x.mean()
    noise = noise.clamp(asked.low[which].to(x), asked.high[which].to(x))
    given = [noise if k == which else other[places] for k, other in enumerate(asked.inputs)]
    lags, size = correlation(noise.double(), asked(*given))
    best = int(size.abs().argmax())
    lag, away = int(lags[best]), (lags - lags[best]).abs()
    rest = size[away > 8]
    if size[best].abs() < _CLEAR * rest.square().mean().sqrt() or rest.abs().max() > _BEST * size[best].abs():
        return None, []
    if not lag:
        return 0, []
    near = size[best - 1 : best + 2].abs()
    exact = lag + float((near[2] - near[0]) / near.sum()) if float(near.max()) < 0.8 * float(near.sum()) else float(lag)
    words = f"the output comes {exact:.4g} samples late{' and turned over' if size[best] < 0 else ''}"
    return lag, [Finding("delay", f"{words}; shift the target, or the output, by {lag}", which, None, round(exact, 1))]


def correlation(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return lags, and at each the sum over rows of products of the output with the input so much earlier."""
    if x.shape != y.shape:  # other channels
        x, y = (t.flatten(1, -2).mean(1) if t.ndim > 2 else t for t in (x, y))
    n = x.shape[-1]
    fx, fy = (torch.fft.rfft(t - t.mean(-1, keepdim=True), 2 * n) for t in (x, y))
    size = torch.fft.irfft((fx.conj() * fy).flatten(0, -2).sum(0), 2 * n)
    lags = torch.arange(-n // 2, n // 2)
    return lags, size[lags]


def chunks(asked: Asked, which: int) -> list[Finding]:
    """Ask for the whole, then for both halves."""
    length = asked.inputs[which].shape[-1]
    half = length // 2
    whole = asked(*asked.inputs)[..., half:]
    parts = [
        [x[..., a:b] if x.shape[-1] == length else x for x in asked.inputs] for a, b in ((0, half), (half, length))
    ]
    asked(*parts[0])
    second = asked(*parts[1])
    if second.shape == whole.shape and not differs(whole, second):
        return []
    if second.shape != whole.shape:
        words = "half a signal does not give half an output"
        return [Finding("chunks", f"{words}; give it whole signals", which)]
    apart = ((whole - second).abs() > 1e-4 * whole.abs().max()).flatten(0, -2).any(0)
    last = int(apart.nonzero().max()) + 1
    words = f"cut in two, it differs from the whole for {last} samples after the cut"
    return [Finding("chunks", f"{words}; give it whole signals, or chunks that overlap by as much", which, None, last)]
