"""Kind "gate": two thresholds, a hold and a range, found by a search and then by what flips would have changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.devices.by_knob import Take, apart, place, rates, sets, told
from hardgrad_lab.devices.device import Device

# What a search begins with: the level that opens as a share of the levels heard, how far below it closes, and times.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
GAPS_DB = (0.0, 6.0)
TIMES_MS = ((5.0, 1.0, 20.0), (30.0, 1.0, 100.0), (100.0, 1.0, 100.0))  # detector, attack, release
LONGEST_S, STEPS = 10.0, 80  # of sound that the start hears, and its steps
QUIET = 0.05  # the share of gains that says what a closed gate leaves


class GateDevice(Device):
    """``hg.Gate`` with a set of numbers for each value of the knob.

    Args:
        rate: samples a second.
        knob: values of the knob, or None.
    """

    def __init__(self, *, rate: int, knob: list[float] | None = None) -> None:
        super().__init__(rate=rate, knob=knob)
        self.layer = _gate(rate, torch.full((sets(knob),), -30.0))

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        at = place("gate", self.knob, knob, x)
        made = self.layer(x, state, **{name: getattr(self.layer, name)[at] for name in self.layer.settings})
        return cast("tuple[Tensor, Any]", made)

    def index(self, x: Tensor, knob: Tensor | None = None) -> Tensor:
        """Return 0 where the gate is closed and 1 where it is open, int64 (B, T)."""
        at = place("gate", self.knob, knob, x)
        given = {name: getattr(self.layer, name)[at] for name in self.layer.settings}
        at_once = {"attack_ms": 0.0, "release_ms": 0.0, "range_db": -math.inf}
        with torch.no_grad():
            heard = torch.ones_like(x, dtype=torch.float64)
            return cast(Tensor, self.layer(heard, side=x, **{**given, **at_once})[0].long())

    def labels(self) -> list[str]:
        return ["closed", "open"]

    def start(self, recordings: Sequence[Take]) -> None:
        """Take the numbers that err least on a stretch: the best of a search, brought down by Adam."""
        found = [_fitted(own, self.rate) for own in apart("gate", self.knob, recordings)]
        for name in self.layer.settings:
            setattr(self.layer, name, torch.stack([getattr(layer, name).detach() for layer in found]))

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters with their rates of learning."""
        return rates(self.layer)

    def describe(self) -> str:
        numbers = [
            {name: getattr(self.layer, name)[i].item() for name in self.layer.settings} for i in range(sets(self.knob))
        ]
        return told("gate", self.knob, list(map(_words, numbers)))

    def active(self) -> int:
        return len(self.layer.settings)


def _gate(rate: int, open_db: Tensor, **settings: Any) -> hg.Gate:
    like = torch.ones_like(open_db)
    usual = {"hold_ms": 5.0, "attack_ms": 1.0, "release_ms": 100.0, "range_db": -60.0, "detector_ms": 30.0}
    each = {name: value * like for name, value in {**usual, **settings}.items()}
    return hg.Gate(open_db, each.pop("close_db", open_db - 3.0), **each, sample_rate=rate)


def _fitted(takes: Sequence[Take], rate: int) -> hg.Gate:
    """Return the gate of least error on the first seconds of recordings."""
    most = round(LONGEST_S * rate / len(takes)) + 1
    dry, wet = (
        nn.utils.rnn.pad_sequence([getattr(take, side)[:most] for take in takes], True).double()
        for side in ("dry", "wet")
    )
    with torch.no_grad():
        tried = [(float(_error(layer(dry)[0], wet)), layer) for layer in _by_hand(dry, wet, rate)]
    layer = min(tried, key=lambda pair: pair[0])[1]
    return recover(layer, dry, wet, steps=STEPS)


def _by_hand(dry: Tensor, wet: Tensor, rate: int) -> Iterator[hg.Gate]:
    closed_db = _quiet_gain(dry, wet, rate)
    for times in TIMES_MS:
        key = hg.EnvelopeKey(0.0, times[0], sample_rate=rate, learn=False)
        heard = key.level(dry)[0].flatten()
        levels = torch.quantile(heard[:: max(1, len(heard) // 100_000)], torch.tensor(SHARES, dtype=heard.dtype))
        for level, gap in product(levels, GAPS_DB):
            given = dict(zip(("detector_ms", "attack_ms", "release_ms"), times, strict=True))
            yield _gate(rate, level, close_db=level - gap, range_db=closed_db, **given)


def _quiet_gain(dry: Tensor, wet: Tensor, rate: int) -> float:
    """Return in dB what is left where least is: of the gains of frames of 10 ms, a low one."""
    frame = max(1, rate // 100)
    power = [x.unfold(-1, min(frame, x.shape[-1]), frame).square().mean(-1).flatten() for x in (dry, wet)]
    gain = (power[1] / power[0])[power[0] > 1e-10]
    low = torch.quantile(gain, QUIET) if len(gain) else torch.ones(())
    return min(0.0, max(-90.0, 10 * math.log10(max(float(low), 1e-12))))


def _error(y: Tensor, wet: Tensor) -> Tensor:
    return (y - wet).square().sum() / wet.square().sum().clamp_min(1e-9)


def recover(
    gate: hg.Gate, dry: Tensor, wet: Tensor, *, side: Tensor | None = None, steps: int = 120, step_db: float = 0.3
) -> hg.Gate:
    """Return a gate whose settings that learn were brought down by Adam to what made ``wet``: the best that it met.

    Args:
        gate: where to begin; it is moved.
        dry: (batch, samples), as ``wet``.
        wet: what the device made of it.
        side: what it listened to; ``dry`` by default.
        steps: with rates that fall to nothing by a cosine.
        step_db: the first step of a threshold; a tenth of it that of a logarithm.
    """
    groups = [group for group in rates(gate, step_db) if any(p.requires_grad for p in group["params"])]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = math.inf, gate.state_dict()
    for _ in range(steps):
        error = _error(gate(dry, side=side)[0], wet)
        if float(error.detach()) <= best:
            best, kept = float(error.detach()), {name: value.clone() for name, value in gate.state_dict().items()}
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    gate.load_state_dict(kept)
    return gate


def _words(numbers: dict[str, float]) -> str:
    levels = "opens at {open_db:.1f} dB, closes below {close_at:.1f} dB held {hold_ms:.3g} ms, range {range_db:.0f} dB"
    times = ", detector {detector_ms:.3g} ms, attack {attack_ms:.3g} ms, release {release_ms:.3g} ms"
    return (levels + times).format(**numbers, close_at=min(numbers["open_db"], numbers["close_db"]))
