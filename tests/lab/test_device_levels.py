"""Devices of levels: what is solved recovers what was planted, and chunks are the whole."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.devices.device import Device
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


def solved(kind: str, *takes: Take, knob: list[float] | None = None) -> Device:
    device = build(kind, rate=RATE, knob=knob)
    device.solve(takes)  # type: ignore[operator]
    return device


def test_a_planted_gain_filter_and_curve_are_found() -> None:
    x, taps = noise(3000), noise(64, 1)
    assert torch.allclose(solved("constant", Take(x, -1.5 * x)).values, torch.tensor(-1.5))  # type: ignore[arg-type]
    short = Take(x[:40], filtered(x[:40], taps))
    found = solved("filter", Take(x, filtered(x, taps)), short).values[0]  # type: ignore[index]
    assert torch.allclose(found, taps, atol=1e-5)
    heard = Take(x, torch.cat([torch.full((100,), 9.0), filtered(x, taps)[100:]]), lead=100)
    assert torch.allclose(solved("filter", heard).values[0], taps, atol=1e-5)  # type: ignore[index]
    assert torch.allclose(
        solved("constant", Take(x, x.where(torch.arange(3000) > 99, 9.0), lead=100)).values, torch.ones(1)
    )  # type: ignore[arg-type]
    y, _ = solved("table", Take(x, x.clamp(-0.2, 0.3)))(x[None])
    assert float((y[0] - x.clamp(-0.2, 0.3)).abs().max()) < 0.02  # a knot apart


@pytest.mark.parametrize("kind", ["constant", "filter", "table"])
def test_a_value_of_the_knob_takes_the_parameters_of_the_nearest_that_was_recorded(kind: str) -> None:
    x = noise(2000)
    device = solved(kind, Take(x, x, 0.0), Take(x, 3 * x, 1.0), knob=[0.0, 1.0])
    y, _ = device(x.expand(3, -1), knob=torch.tensor([0.49, 0.5, 7.0]))
    assert torch.allclose(y, torch.tensor([[1.0], [3.0], [3.0]]) * x, atol=2e-3)
    with pytest.raises(ValueError, match="knob must be a tensor of one value a row"):
        device(x[None])
    with pytest.raises(ValueError, match="none of 1; add one"):
        device.solve([Take(x, x, 0.0)])  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"without; give it in \.knob"):
        device.solve([Take(x, x)])  # type: ignore[operator]
    with pytest.raises(ValueError, match="knob must be None"):
        solved(kind, Take(x, x))(x[None], knob=torch.tensor([0.0]))


@pytest.mark.parametrize("kind", ["constant", "filter", "table"])
def test_chunks_are_the_whole_bit_for_bit(kind: str) -> None:
    x = noise(1000)
    device = solved(kind, Take(x, (x + x.roll(3)).clamp(-0.3, 0.3)))
    whole, _ = device(x[None])
    first, state = device(x[None, :17])
    none, state = device(x[None, 17:17], state)
    rest, _ = device(x[None, 17:], state)
    assert torch.equal(torch.cat([first, none, rest], 1), whole)


@pytest.mark.parametrize("kind", ["constant", "filter", "table"])
def test_silence_is_solved_without_a_word_that_is_not_a_number(kind: str) -> None:
    device = solved(kind, Take(torch.zeros(500), torch.zeros(500)))
    assert torch.equal(device(torch.zeros(1, 80))[0], torch.zeros(1, 80))


def stepped(samples: int, seed: int) -> Tensor:
    """A sound whose level is another every 200 samples."""
    steps = torch.rand(samples // 200 + 1, generator=torch.Generator().manual_seed(seed)) * 2 - 2
    return noise(samples, seed) * (10**steps).repeat_interleave(200)[:samples]


@torch.no_grad()
def test_a_compressor_finds_the_numbers_of_another_for_each_value_of_the_knob() -> None:
    rate, each = 3000, torch.tensor
    numbers = {"threshold_db": each([-30.0, -24.0]), "ratio": each([4.0, 2.0]), "makeup_db": each([3.0, 6.0])}
    planted = hg.Compressor(**numbers, attack_ms=3.0, release_ms=30.0, sample_rate=rate, learn=False)  # type: ignore[arg-type]
    x = stepped(4000, 1)
    wet, _ = planted(x.expand(2, -1))
    unheard = torch.cat([noise(300, 5), wet[1, 300:]])
    device = build("compressor", rate=rate, knob=[0.0, 1.0])
    with torch.enable_grad():
        device.start([Take(x, wet[0], 0.0), Take(x, unheard, 1.0, lead=300)])  # type: ignore[operator]
    whole, _ = device(x.expand(2, -1), None, torch.tensor([0.1, 0.8]))
    assert float((whole - wet).square().sum() / wet.square().sum()) < 1e-4
    assert device.describe().startswith("compressor: knob 0: threshold -30.0 dB, ratio 4.0")
    first, state = device(x[None, :300], None, torch.tensor([1.0]))
    rest, _ = device(x[None, 300:], state, torch.tensor([1.0]))
    assert torch.equal(torch.cat([first, rest], 1)[0], whole[1])
    again = build("compressor", rate=rate, knob=[0.0, 1.0])
    again.load_state_dict(device.state_dict())
    assert torch.equal(again(x[None], None, torch.tensor([1.0]))[0][0], whole[1])
