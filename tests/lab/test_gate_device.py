"""Kind "gate": it finds a gate that was planted, and chunks are the whole."""

from __future__ import annotations

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.devices.gate import GateDevice, recover
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.devices.recordings import Recording

RATE = 2000


def hits(seed: int) -> Tensor:
    """Two seconds of decaying hits over a noise at -50 dB."""
    drawn = torch.Generator().manual_seed(seed)
    time = torch.arange(2 * RATE) % (RATE // 4) / RATE
    loud = 10 ** (-torch.rand(8, generator=drawn).repeat_interleave(RATE // 4) * 0.7)
    return (loud * torch.exp(-18 * time) + 0.003) * torch.randn(2 * RATE, generator=drawn)


def planted(x: Tensor, open_db: float, range_db: float = -40.0) -> Tensor:
    settings = {"hold_ms": 5.0, "attack_ms": 1.0, "release_ms": 20.0, "detector_ms": 20.0, "range_db": range_db}
    return hg.Gate(open_db, open_db - 8, **settings, sample_rate=RATE, learn=False)(x)[0]


def test_a_planted_gate_is_found_for_each_value_of_a_knob() -> None:
    device = build("gate", rate=RATE, knob=[0.0, 1.0])
    assert isinstance(device, GateDevice)
    takes = [Recording(dry=hits(i), wet=planted(hits(i), -14.0 - 10 * i), knob=float(i)) for i in (0, 1)]
    device.start(takes)
    for i in (0, 1):
        x, knob = hits(5 + i), torch.tensor([float(i)])
        y, _ = device(x[None], None, knob)
        wet = planted(x, -14.0 - 10 * i)
        assert (y[0] - wet).square().sum() < 0.02 * wet.square().sum()
        open_, loud = device.index(x[None], knob)[0], wet.abs() > 0.5 * x.abs()
        assert ((open_ == 1) == loud).float().mean() > 0.9
    assert device.labels() == ["closed", "open"]
    assert device.active() == 7
    assert "knob 1: opens at -2" in device.describe()


def test_chunks_are_the_whole_and_a_device_is_its_numbers() -> None:
    device, x = build("gate", rate=RATE), hits(0).view(2, -1)
    whole, _ = device(x)
    first, state = device(x[:, :777])
    second, _ = device(x[:, 777:], state)
    assert torch.equal(torch.cat([first, second], 1), whole)
    again = build("gate", rate=RATE)
    with torch.no_grad():
        device.layer.raw_open_db += 3  # type: ignore[union-attr,operator]
    again.load_state_dict(device.state_dict())
    assert torch.equal(again(x)[0], device(x)[0])


def test_recover_keeps_the_best_that_it_met() -> None:
    x = hits(0)[None]
    wet = planted(x, -14.0)
    gate = hg.Gate(-14.0, -22.0, hold_ms=5.0, release_ms=20.0, detector_ms=20.0, range_db=-40.0, sample_rate=RATE)
    recover(gate, x, wet, steps=3, step_db=3.0)  # it begins at the truth
    assert (gate(x)[0] - wet).square().sum() < 1e-8
