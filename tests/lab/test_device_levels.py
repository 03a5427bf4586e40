"""Devices of levels: what is solved recovers what was planted, and chunks are the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.devices.kinds import build

RATE = 8000


@dataclass
class Take:
    dry: Tensor
    wet: Tensor
    knob: float | None = None
    lead: int = 0


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) / 4


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    """The filter as its formula says it, one sample at a time."""
    padded = torch.cat([torch.zeros(len(taps) - 1), x])
    return torch.stack([padded[t : t + len(taps)].flip(0) @ taps for t in range(len(x))])


def solved(kind: str, *takes: Take, knob: list[float] | None = None) -> Any:  # of some kind
    device: Any = build(kind, rate=RATE, knob=knob)
    device.solve(takes)
    return device


def test_a_planted_gain_filter_and_curve_are_found() -> None:
    x, taps = noise(3000), noise(64, 1)
    assert torch.allclose(solved("constant", Take(x, -1.5 * x)).values, torch.tensor(-1.5))
    short = Take(x[:40], filtered(x[:40], taps))
    found: Any = solved("filter", Take(x, filtered(x, taps)), short).values[0]
    assert torch.allclose(found, taps, atol=1e-5)
    heard = Take(x, torch.cat([torch.full((100,), 9.0), filtered(x, taps)[100:]]), lead=100)
    assert torch.allclose(solved("filter", heard).values[0], taps, atol=1e-5)
    one: Any = solved("constant", Take(x, x.where(torch.arange(3000) > 99, 9.0), lead=100))
    assert torch.allclose(one.values, torch.ones(1))
    y, _ = solved("table", Take(x, x.clamp(-0.2, 0.3)))(x[None])
    assert float((y[0] - x.clamp(-0.2, 0.3)).abs().max()) < 0.02  # a knot apart


@pytest.mark.parametrize("kind", ["constant", "filter", "table"])
def test_a_value_of_the_knob_takes_the_parameters_of_the_nearest_that_was_recorded(kind: str) -> None:
    x = noise(2000)
    device: Any = solved(kind, Take(x, x, 0.0), Take(x, 3 * x, 1.0), knob=[0.0, 1.0])
    y, _ = device(x.expand(3, -1), knob=torch.tensor([0.49, 0.5, 7.0]))
    assert torch.allclose(y, torch.tensor([[1.0], [3.0], [3.0]]) * x, atol=2e-3)
    with pytest.raises(ValueError, match="knob must be a tensor of one value a row"):
        device(x[None])
    with pytest.raises(ValueError, match="none of 1; add one"):
        device.solve([Take(x, x, 0.0)])
    with pytest.raises(ValueError, match=r"without; give it in \.knob"):
        device.solve([Take(x, x)])
    with pytest.raises(ValueError, match="knob must be None"):
        solved(kind, Take(x, x))(x[None], knob=torch.tensor([0.0]))


@pytest.mark.parametrize("kind", ["constant", "filter", "table"])
def test_chunks_are_the_whole_bit_for_bit(kind: str) -> None:
    x = noise(1000)
    device: Any = solved(kind, Take(x, (x + x.roll(3)).clamp(-0.3, 0.3)))
    whole, _ = device(x[None])
    first, state = device(x[None, :17])
    none, state = device(x[None, 17:17], state)
    rest, _ = device(x[None, 17:], state)
    assert torch.equal(torch.cat([first, none, rest], 1), whole)


@pytest.mark.parametrize("kind", ["constant", "filter", "table"])
def test_silence_is_solved_without_a_word_that_is_not_a_number(kind: str) -> None:
    device: Any = solved(kind, Take(torch.zeros(500), torch.zeros(500)))
    assert torch.equal(device(torch.zeros(1, 80))[0], torch.zeros(1, 80))


def stepped(samples: int, seed: int) -> Tensor:
    """A sound whose level is another every 200 samples."""
    steps = torch.rand(samples // 200 + 1, generator=torch.Generator().manual_seed(seed)) * 2 - 2
    return noise(samples, seed) * (10**steps).repeat_interleave(200)[:samples]


@torch.no_grad()
def test_a_compressor_finds_the_numbers_of_another() -> None:
    rate, x = 3000, stepped(3000, 1)
    numbers = {"threshold_db": -30.0, "ratio": 4.0, "makeup_db": 3.0, "attack_ms": 3.0, "release_ms": 30.0}
    settings: dict[str, Any] = {**numbers}
    planted = hg.Compressor(**settings, sample_rate=rate, learn=False)
    wet, _ = planted(x)
    device: Any = build("compressor", rate=rate)
    with torch.enable_grad():
        device.start([Take(x, torch.cat([noise(300, 5), wet[300:]]), lead=300)])
    y, _ = device(x[None])
    assert float((y[0] - wet).square().sum() / wet.square().sum()) < 1e-4
    assert device.describe().startswith("compressor: threshold -30.0 dB, ratio 4.0")


def test_a_filter_of_a_swept_sine_errs_no_more_than_a_gain_where_the_sweep_goes_on() -> None:
    time = torch.arange(6000.0)
    sweep = 0.5 * torch.sin(2 * math.pi * 0.01 * 20 ** (time / 6000) * 6000 / math.log(20))
    wet = sweep / (1 + 4 * sweep.abs())
    errors = []
    for kind in ("constant", "filter"):
        y, _ = solved(kind, Take(sweep[:4800], wet[:4800]))(sweep[None])
        errors.append(float((y[0] - wet)[4800:].square().sum()))
    assert errors[1] < 1.1 * errors[0]  # of the least ridge it was 300,000 times as much


def test_a_compressor_that_turns_the_sound_upside_down_and_limits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHORT", "LONG"):
        monkeypatch.setattr(f"hardgrad_lab.devices.dynamics.{name}", 1)
    monkeypatch.setattr("hardgrad_lab.devices.dynamics.AT_ONCE", 50.0)  # samples, of a thousand a second
    x = stepped(1000, 1)
    wet = -hg.Compressor(-30.0, 1e6, attack_ms=0.0, release_ms=30.0, sample_rate=1000, learn=False)(x)[0]
    device: Any = build("compressor", rate=1000, knob=[0.0, 1.0])
    device.start([Take(x, wet, 0.0), Take(x, -wet, 1.0)])
    assert device.polarity.tolist() == [-1.0, 1.0]  # type: ignore[union-attr, operator]
    y, _ = device(x.expand(2, -1), knob=torch.tensor([0.0, 1.0]))
    assert torch.equal(y[0], -y[1])
    assert (y[0] * wet).sum() > 0
    assert float(device.layer.attack_ms.detach().min()) > 49  # type: ignore[union-attr, operator]
    device.layer.ratio = torch.tensor([5e4, 3.0])
    first, second = device.describe().split("; ")
    assert "dB, a limiter, knee" in first
    assert first.endswith(", inverted")
    assert "dB, ratio 3.0, knee" in second


@torch.no_grad()
def test_a_compressor_has_numbers_for_each_value_of_the_knob() -> None:
    x, knob = stepped(1000, 3), torch.tensor([0.1, 0.8])
    device: Any = build("compressor", rate=RATE, knob=[0.0, 1.0])
    device.layer.threshold_db = torch.tensor([-20.0, -40.0])
    y, _ = device(x.expand(2, -1), None, knob)
    for threshold, own in zip((-20.0, -40.0), y, strict=True):
        alone: Any = build("compressor", rate=RATE)
        alone.layer.threshold_db = threshold
        assert torch.equal(alone(x[None])[0][0], own)
    first, state = device(x[None, :300].expand(2, -1), None, knob)
    rest, _ = device(x[None, 300:].expand(2, -1), state, knob)
    assert torch.equal(torch.cat([first, rest], 1), y)
    again = build("compressor", rate=RATE, knob=[0.0, 1.0])
    again.load_state_dict(device.state_dict())
    assert torch.equal(again(x.expand(2, -1), None, knob)[0], y)


def ducked(x: Tensor, gains: tuple[float, float], rate: int) -> Tensor:
    """A device whose gain is another above -20 dB of a level of 2 ms up and 20 ms down, by a loop."""
    level, out = 0.0, []
    up, down = (1 - math.exp(-1000 / (ms * rate)) for ms in (2.0, 20.0))
    for now in x.tolist():
        level += (up if abs(now) > level else down) * (abs(now) - level)
        out.append(now * gains[level > 0.1])
    return torch.tensor(out)


@torch.no_grad()
def test_a_switch_on_the_level_finds_its_detector_and_the_gains_of_its_ranges() -> None:
    rate, x = 3000, stepped(3000, 2)
    takes = [Take(x, ducked(x, (2.0, 0.5), rate), 0.0), Take(x, ducked(x, (1.0, 3.0), rate), 1.0)]
    device: Any = build("envelope", rate=rate, knob=[0.0, 1.0], ranges=12, taps=3)
    device.start(takes)
    y, _ = device(x.expand(2, -1), None, torch.tensor([0.0, 1.0]))
    wet = torch.stack([take.wet for take in takes])
    gain = (wet * x).sum(1, keepdim=True) / x.square().sum()
    of_gain, of_device = (float((each - wet).square().sum() / wet.square().sum()) for each in (gain * x, y))
    assert of_device < 0.2 * of_gain
    index = device.index(x.expand(2, -1), torch.tensor([0.0, 1.0]))
    assert index is not None
    assert index.shape == (2, 3000)
    assert len(device.labels()) == 12
    for weight in device.parameters():
        if weight.ndim == 2:  # of taps that a planted gain leaves at 0, too
            weight.normal_(generator=torch.Generator().manual_seed(1))
    y, _ = device(x.expand(2, -1), None, torch.tensor([0.0, 1.0]))
    state, parts = None, []
    for chunk in x.expand(2, -1).split([1, 2, 997, 2000], 1):
        part, state = device(chunk, state, torch.tensor([0.0, 1.0]))
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), y)
    again = build("envelope", rate=rate, knob=[0.0, 1.0], **device.spec)
    again.load_state_dict(device.state_dict())
    assert torch.equal(again(x.expand(2, -1), None, torch.tensor([0.0, 1.0]))[0], y)
