"""Kind "compressor": five numbers that people know, and the width of the knee."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.devices.by_knob import Take, apart, place, rates, sets, told
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.stretches import Stretches, stretches

# What a search by hand begins with: thresholds below the loudest sample, ratios, and attack with release.
BELOW_DB = (6.0, 14.0, 22.0, 30.0, 38.0)
RATIOS = (2.0, 5.0)
TIMES_MS = ((0.3, 10.0), (2.0, 40.0), (10.0, 150.0), (30.0, 600.0))
STRETCHES, STRETCH_S = 10, 1.0  # of each knob value are heard to begin with
BEST, SHORT, LONG = 3, 12, 40  # so many go on, for so many steps of LBFGS each; the best of them for so many
AT_ONCE = 0.05  # samples of a time: a shorter one is the same, and a search would run on without an end
LIMIT = 100.0  # a ratio from which a compressor is a limiter
NAMES = ("threshold_db", "ratio", "knee_db", "makeup_db", "attack_ms", "release_ms")


class CompressorDevice(Device):
    """``hg.Compressor`` with a set of numbers, and a polarity, for each value of the knob.

    Args:
        rate: samples a second.
        knob: values of the knob, or None.
        detector: "peak", or "rms" of 10 ms.
    """

    def __init__(self, *, rate: int, knob: list[float] | None = None, detector: str = "peak") -> None:
        super().__init__(rate=rate, knob=knob, detector=detector)
        self.layer = _compressor(rate, detector, torch.full((sets(knob),), -20.0))
        self.register_buffer("polarity", torch.ones(sets(knob)))  # -1 where the output is upside down

    polarity: Tensor

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        at = place("compressor", self.knob, knob, x)
        y, state = self.layer(x, state, **{name: getattr(self.layer, name)[at] for name in NAMES})
        return y * self.polarity[at, None].to(y.dtype), state

    def start(self, recordings: Sequence[Take]) -> None:
        """Take the numbers that err least on some stretches: the best of a search, brought down by LBFGS."""
        found = []
        for i, own in enumerate(apart("compressor", self.knob, recordings)):
            heard = stretches(own, round(STRETCH_S * self.rate), STRETCHES)
            self.polarity[i] = -1.0 if float((heard.dry * heard.wet * heard.counts).sum()) < 0 else 1.0
            found.append(_fitted(heard._replace(wet=heard.wet * self.polarity[i]), self))
        for name in NAMES:
            values = torch.stack([getattr(layer, name).detach() for layer in found])
            least = 1000 * AT_ONCE / self.rate if name.endswith("_ms") else -math.inf
            setattr(self.layer, name, values.clamp_min(least))

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters with their rates of learning."""
        return rates(self.layer)

    def describe(self) -> str:
        rows = [
            _words({name: getattr(self.layer, name)[i].item() for name in NAMES}) + (", inverted" if sign < 0 else "")
            for i, sign in enumerate(self.polarity.tolist())
        ]
        return told("compressor", self.knob, rows)

    def active(self) -> int:
        return len(NAMES)


def _compressor(rate: int, detector: str, threshold_db: Tensor) -> hg.Compressor:
    like = torch.ones_like(threshold_db)
    return hg.Compressor(
        threshold_db,
        3.0 * like,
        knee_db=6.0 * like,
        makeup_db=0.0 * like,
        attack_ms=5.0 * like,
        release_ms=100.0 * like,
        sample_rate=rate,
        detector=cast(Any, detector),
        learn=NAMES,
    )


def _fitted(heard: Stretches, device: CompressorDevice) -> hg.Compressor:
    """Return the compressor of least error on stretches."""
    with torch.no_grad():
        tried = sorted(_by_hand(heard, device), key=lambda pair: pair[0])
    going = [_down(layer, heard, SHORT) for _, layer in tried[:BEST]]
    return _down(min(going, key=lambda pair: pair[0])[1], heard, LONG)[1]


def _by_hand(heard: Stretches, device: CompressorDevice) -> Iterator[tuple[float, hg.Compressor]]:
    """Yield what the search tries with its error, each with the make-up gain that serves it best."""
    top = float(heard.dry.abs().max().clamp_min(1e-6).log10() * 20)
    for below, ratio, (attack, release) in product(BELOW_DB, RATIOS, TIMES_MS):
        layer = _compressor(device.rate, device.spec["detector"], torch.tensor(top - below, dtype=torch.float64))
        layer.ratio, layer.attack_ms, layer.release_ms = ratio, attack, release
        y = layer(heard.dry)[0] * heard.counts
        gain = (y * heard.wet).sum() / y.square().sum().clamp_min(1e-12)
        layer.makeup_db = float(gain.clamp(1e-4, 1e4).log10() * 20)
        yield float(heard.error(gain * y)), layer


def _down(layer: hg.Compressor, heard: Stretches, steps: int) -> tuple[float, hg.Compressor]:
    """Return what LBFGS comes to, which an exact gradient lets it."""
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        error = heard.error(layer(heard.dry)[0])
        error.backward()
        return float(error.detach())

    before = {name: value.clone() for name, value in layer.state_dict().items()}
    error = float(cast(Any, optimizer.step(loss)))
    with torch.no_grad():
        after = float(heard.error(layer(heard.dry)[0]))
    if not after <= error:  # NaN, too
        layer.load_state_dict(before)
    return min(after, error) if after == after else error, layer


def _words(numbers: dict[str, float]) -> str:
    ratio = "a limiter" if numbers["ratio"] > LIMIT else "ratio {ratio:.1f}"
    levels = f"threshold {{threshold_db:.1f}} dB, {ratio}, knee {{knee_db:.1f}} dB, make-up {{makeup_db:.1f}} dB"
    return (levels + ", attack {attack_ms:.3g} ms, release {release_ms:.3g} ms").format(**numbers)
