"""Kind "compressor": five numbers that people know, and the width of the knee."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.devices.by_knob import Take, apart, place, sets
from hardgrad_lab.devices.device import Device

# What a search by hand begins with: thresholds below the loudest sample, ratios, and attack with release.
BELOW_DB = (6.0, 14.0, 22.0, 30.0, 38.0)
RATIOS = (2.0, 5.0)
TIMES_MS = ((0.3, 10.0), (2.0, 40.0), (10.0, 150.0), (30.0, 600.0))
STRETCH_S, STRETCHES = 1.0, 10  # of each knob value are heard to begin with; the first quarter brings the state
BEST, SHORT, LONG = 3, 12, 40  # so many go on, for so many steps of LBFGS each; the best of them for so many
NAMES = ("threshold_db", "ratio", "knee_db", "makeup_db", "attack_ms", "release_ms")


class CompressorDevice(Device):
    """``hg.Compressor`` with a set of numbers for each value of the knob.

    Args:
        rate: samples a second.
        knob: values of the knob, or None.
        detector: "peak", or "rms" of 10 ms.
    """

    def __init__(self, *, rate: int, knob: list[float] | None = None, detector: str = "peak") -> None:
        super().__init__(rate=rate, knob=knob, detector=detector)
        self.layer = _compressor(rate, detector, torch.full((sets(knob),), -20.0))

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        at = place("compressor", self.knob, knob, x)
        made = self.layer(x, state, **{name: getattr(self.layer, name)[at] for name in NAMES})
        return cast("tuple[Tensor, Any]", made)

    def start(self, recordings: Sequence[Take]) -> None:
        """Take the numbers that err least on some stretches: the best of a search, brought down by LBFGS."""
        found = [_fitted(_stretches(own, self.rate), self) for own in apart("compressor", self.knob, recordings)]
        for name in NAMES:
            setattr(self.layer, name, torch.stack([getattr(layer, name).detach() for layer in found]))

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters with their learning rates: decibels go further in a step than logarithms."""
        decibels = [value for name, value in self.layer.named_parameters() if name.startswith("raw_")]
        logarithms = [value for name, value in self.layer.named_parameters() if name.startswith("log_")]
        return [{"params": decibels, "lr": 0.02}, {"params": logarithms, "lr": 2e-3}]

    def describe(self) -> str:
        rows = [_words({name: getattr(self.layer, name)[i].item() for name in NAMES}) for i in range(sets(self.knob))]
        if self.knob is None:
            return f"compressor: {rows[0]}"
        return "compressor: " + "; ".join(f"knob {value:g}: {row}" for value, row in zip(self.knob, rows, strict=True))

    def active(self) -> int:
        return len(NAMES)


class _Heard(NamedTuple):
    """Stretches of recordings, (n, samples) each; ``counts`` is 1 where something is to be measured."""

    dry: Tensor
    wet: Tensor
    counts: Tensor


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


def _stretches(takes: Sequence[Take], rate: int) -> _Heard:
    length = round(STRETCH_S * rate)
    places = [(take, begin) for take in takes for begin in range(0, len(take.dry), length)]
    made = [_cut(take, begin, length) for take, begin in places[:: -(-len(places) // STRETCHES)]]
    return _Heard(*(torch.stack(parts).double() for parts in zip(*made, strict=True)))


def _cut(take: Take, begin: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    time = torch.arange(begin, begin + length)
    counts = (time >= take.lead) & (time < len(take.dry)) & (time >= (begin + length // 4 if begin else 0))
    dry, wet = (side[begin : begin + length] for side in (take.dry, take.wet))
    gap = (0, length - len(dry))
    return nn.functional.pad(dry, gap), nn.functional.pad(wet, gap), counts


def _fitted(heard: _Heard, device: CompressorDevice) -> hg.Compressor:
    """Return the compressor of least error on stretches."""
    with torch.no_grad():
        tried = sorted(_by_hand(heard, device), key=lambda pair: pair[0])
    going = [_down(layer, heard, SHORT) for _, layer in tried[:BEST]]
    return _down(min(going, key=lambda pair: pair[0])[1], heard, LONG)[1]


def _by_hand(heard: _Heard, device: CompressorDevice) -> Iterator[tuple[float, hg.Compressor]]:
    """Yield what the search tries with its error, each with the make-up gain that serves it best."""
    top = float(heard.dry.abs().max().clamp_min(1e-6).log10() * 20)
    for below, ratio, (attack, release) in product(BELOW_DB, RATIOS, TIMES_MS):
        layer = _compressor(device.rate, device.spec["detector"], torch.tensor(top - below, dtype=torch.float64))
        layer.ratio, layer.attack_ms, layer.release_ms = ratio, attack, release
        y = layer(heard.dry)[0] * heard.counts
        gain = (y * heard.wet).sum() / y.square().sum().clamp_min(1e-12)
        layer.makeup_db = float(gain.clamp(1e-4, 1e4).log10() * 20)
        yield float(_error(gain * y, heard)), layer


def _down(layer: hg.Compressor, heard: _Heard, steps: int) -> tuple[float, hg.Compressor]:
    """Return what LBFGS comes to, which an exact gradient lets it."""
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        error = _error(layer(heard.dry)[0], heard)
        error.backward()
        return float(error.detach())

    before = {name: value.clone() for name, value in layer.state_dict().items()}
    error = float(cast(Any, optimizer.step(loss)))
    with torch.no_grad():
        after = float(_error(layer(heard.dry)[0], heard))
    if not after <= error:  # NaN, too
        layer.load_state_dict(before)
    return min(after, error) if after == after else error, layer


def _error(y: Tensor, heard: _Heard) -> Tensor:
    wrong = (y - heard.wet) * heard.counts
    return wrong.square().sum() / (heard.wet * heard.counts).square().sum().clamp_min(1e-9)


def _words(numbers: dict[str, float]) -> str:
    levels = "threshold {threshold_db:.1f} dB, ratio {ratio:.1f}, knee {knee_db:.1f} dB, make-up {makeup_db:.1f} dB"
    return (levels + ", attack {attack_ms:.3g} ms, release {release_ms:.3g} ms").format(**numbers)
