"""Effects are played as pedalboard plays them, no row feels another, and a knob that does not take is said."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.audio import Parameter, plugin

RATE = 44100
EFFECTS = [
    "Bitcrush",
    "BrickwallLimiter",
    "Chorus",
    "Clipping",
    "Compressor",
    "Delay",
    "Distortion",
    "Gain",
    "HighShelfFilter",
    "HighpassFilter",
    "LadderFilter",
    "Limiter",
    "LowShelfFilter",
    "LowpassFilter",
    "MP3Compressor",
    "NoiseGate",
    "PeakFilter",
    "Phaser",
    "PitchShift",
    "Resample",
    "Reverb",
]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_is_played_as_pedalboard_plays_it_and_no_row_feels_another(name: str) -> None:
    box = plugin(name, sample_rate=RATE)
    signal, knobs = noise(2, 1, 2000), uniform(2, len(box.knobs))
    assert box.knobs
    out = box(signal, knobs)
    assert torch.equal(out.flip(0), box(signal.flip(0), knobs.flip(0)))
    for row, sound, turned in zip(out, signal, knobs, strict=True):
        effect = getattr(pedalboard, name)()
        for knob, value in zip(box.knobs, turned.tolist(), strict=True):
            at = value * np.log(knob.high / knob.low) + np.log(knob.low) if knob.scale == "log" else None
            setattr(effect, knob.name, np.exp(at) if at is not None else knob.low + value * (knob.high - knob.low))
        torch.testing.assert_close(row, torch.from_numpy(effect(sound.numpy(), RATE)), atol=1e-4, rtol=1e-4)


def test_a_reverb_that_is_reset_still_glides_so_rows_need_new_ones() -> None:
    """Why an effect is made for each row: pedalboard's own ``reset=True`` leaves the knobs of before in a Reverb."""
    effect, sound = pedalboard.Reverb(dry_level=0.1), noise(1, 2000).numpy()
    first = effect(sound, RATE)
    effect.dry_level = 0.9
    effect(sound, RATE)
    effect.dry_level = 0.1
    assert np.abs(effect(sound, RATE) - first).max() > 0.01


def test_values_by_their_formulas() -> None:
    signal = noise(3, 2, 300)
    knobs = torch.tensor([[0.0], [0.5], [1.0]])
    gain = 10 ** (torch.tensor([-24.0, 0.0, 24.0]) / 20)
    torch.testing.assert_close(plugin("Gain", sample_rate=RATE)(signal, knobs), gain[:, None, None] * signal)
    clip = 10 ** (torch.tensor([-60.0, -30.0, 0.0]) / 20)[:, None, None]
    out = plugin(pedalboard.Clipping, sample_rate=RATE)(signal, knobs)
    torch.testing.assert_close(out, torch.maximum(torch.minimum(signal, clip), -clip), atol=1e-6, rtol=1e-5)


def test_ranges_come_with_units_and_scales_and_give_way_to_the_users() -> None:
    assert plugin("Compressor", ["ratio", "threshold_db", "attack_ms"], sample_rate=RATE).knobs == (
        Parameter("ratio", 1.0, 20.0, "", "log"),
        Parameter("threshold_db", -60.0, 0.0, "dB", "linear"),
        Parameter("attack_ms", 0.1, 100.0, "ms", "log"),
    )
    asked = [("cutoff_hz", 100, 400), ("resonance", 0.1, 0.3), ("drive", 1, 4, "log")]
    knobs = plugin("LadderFilter", asked, sample_rate=RATE, fixed={"mode": pedalboard.LadderFilter.HPF24}).knobs
    assert [round(knob.value(0.5), 6) for knob in knobs] == [200, 0.2, 2]
    assert plugin("Delay", [("delay_seconds", 0, 1)], sample_rate=RATE).knobs[0].scale == "linear"  # no logarithm of 0
    assert plugin("LowpassFilter", sample_rate=8000).knobs[0].high == 3600  # under half the sample rate
    assert plugin("Bitcrush", [("bit_depth", 2, 6, "whole")], sample_rate=RATE).knobs[0].value(0.4) == 4


def test_fixed_values_are_in_the_effect() -> None:
    signal = noise(1, 1, 500)
    box = plugin("PeakFilter", ["gain_db"], sample_rate=RATE, fixed={"cutoff_frequency_hz": 2000, "q": 3})
    expected = pedalboard.PeakFilter(cutoff_frequency_hz=2000, gain_db=12, q=3)(signal[0].numpy(), RATE)
    torch.testing.assert_close(box(signal, torch.tensor([[0.75]]))[0], torch.from_numpy(expected))
    assert [knob.name for knob in plugin("PeakFilter", sample_rate=RATE, fixed={"q": 3}).knobs] == [
        "cutoff_frequency_hz",
        "gain_db",
    ]
    codec = plugin("GSMFullRateCompressor", sample_rate=RATE)
    assert codec.knobs == ()
    assert codec(signal).shape == signal.shape


@pytest.mark.parametrize(("channels", "samples"), [(1, 1), (2, 1), (2, 2), (3, 2), (1, 2), (2, 0), (1, 0)])
def test_a_signal_of_few_samples_is_not_taken_for_one_of_many_channels(channels: int, samples: int) -> None:
    box, signal = plugin("Compressor", ["threshold_db"], sample_rate=RATE, fixed={"ratio": 8}), noise(1, channels, 500)
    knob = torch.tensor([[0.1]])
    assert torch.equal(box(signal[..., :samples], knob), box(signal, knob)[..., :samples])


@pytest.mark.parametrize(
    ("signal", "knobs", "sentence"),
    [
        (noise(2, 1, 90), torch.tensor([[0.5], [1.01]]), r"row 1.*knob 'gain_db' must be in 0\.\.1, got 1\.0(1|0999)"),
        (noise(2, 1, 90), torch.tensor([[0.5], [-0.01]]), r"row 1.*knob 'gain_db' must be in 0\.\.1, got -0\.0"),
        (noise(2, 1, 90), torch.tensor([[torch.nan], [0.5]]), r"row 0.*knob 'gain_db' must be in 0\.\.1, got nan"),
        (noise(2, 90), torch.full((2, 1), 0.5), r"signal must be \(batch, channels, samples\) .* shape \(90,\)"),
        (noise(2, 1, 90), torch.full((2, 2), 0.5), r"knobs must be \(batch, 1\), got rows of \(2,\); .*gain_db"),
        (noise(1, 1, 9) / 0, torch.full((1, 1), 0.5), r"row 0.*signal must be .* finite, got nan or inf"),
    ],
)
def test_a_row_that_cannot_be_played_is_said(signal: Tensor, knobs: Tensor, sentence: str) -> None:
    with pytest.raises(RuntimeError, match=r"BlackBox\(Gain\): .*" + sentence):
        plugin("Gain", sample_rate=RATE)(signal, knobs)


@pytest.mark.parametrize(
    ("what", "options", "sentence"),
    [
        ("Compresor", {}, r"what, if it is no file's path, must be one of 'Bitcrush', .*, got 'Compresor'"),
        (dict, {}, r"what, .* must be one of .*, got 'dict'"),
        ("Pedalboard", {}, r"what, .* must be one of .*, got 'Pedalboard'"),
        ("Compressor", {"parameters": ["knee_db"]}, r"a parameter's name must be one of 'attack_ms', .* got 'knee_db'"),
        ("Reverb", {"parameters": ["freeze_mode"]}, r"parameter 'freeze_mode' must be named once, .* no known range"),
        (
            "Compressor",
            {"parameters": [("ratio", 1)]},
            r"parameter 'ratio' must be named once, as .* got \('ratio', 1\)",
        ),
        ("Compressor", {"fixed": {"knee_db": 3}}, r"fixed must be what the effect takes, got .*attack_ms: float"),
        ("Reverb", {"fixed": {"room_size": 3}}, r"fixed must be what the effect takes, got .*between 0\.0 and 1\.0"),
        ("Gain", {"sample_rate": 0}, r"sample_rate must be above 0, got 0"),
    ],
)
def test_a_mistake_is_one_sentence(what: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^hardgrad_lab.audio.plugin: " + sentence) as caught:
        plugin(what, **{"sample_rate": RATE, **options})
    assert "\n" not in str(caught.value)


def test_an_effect_that_does_not_take_a_value_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(pedalboard.Gain):
        gain_db = property(lambda self: 1.0, lambda self, value: None)

    monkeypatch.setattr(pedalboard, "Stuck", Stuck, raising=False)
    with pytest.raises(RuntimeError, match=r"row 0.*parameter 'gain_db' must stand where it is set, got 1 for 24"):
        plugin("Stuck", sample_rate=RATE)(noise(1, 1, 100), torch.ones(1, 1))


def test_without_pedalboard_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(ImportError, match=r"pedalboard is not installed; pip install 'hardgrad\[audio\]'"):
        plugin("Gain", sample_rate=RATE)


def test_a_box_goes_to_other_processes_and_back() -> None:
    signal, knobs = noise(3, 1, 200), uniform(3, 1)
    here = plugin("Distortion", sample_rate=RATE)
    assert torch.equal(pickle.loads(pickle.dumps(here))(signal, knobs), here(signal, knobs))
    with plugin("Distortion", sample_rate=RATE, workers=1) as box:
        assert torch.equal(box(signal, knobs), here(signal, knobs))


def test_a_gradient_for_knobs_and_for_the_signal() -> None:
    box, signal = plugin("Gain", sample_rate=RATE), noise(4, 2, 300)
    knobs = torch.tensor([[0.2], [0.5], [0.6], [0.95]], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"hardgrad\.perturb"):
        box(signal, knobs)
    hg.perturb(box, (None, 0.1))(signal, knobs).square().mean((1, 2)).sum().backward()
    # 2 mean(y dy) of y = 10 ** (gain / 20) x, by the two points; the last pair was moved inside, to 0.8 and 1.
    at, points = knobs.detach()[:, 0], torch.tensor([[0.1, 0.3], [0.4, 0.6], [0.5, 0.7], [0.8, 1.0]])
    gain = 10 ** ((48 * points - 24) / 20)
    slope = (gain[:, 1] - gain[:, 0]) / 0.2
    expected = 2 * 10 ** ((48 * at - 24) / 20) * slope * signal.square().mean((1, 2))
    torch.testing.assert_close(knobs.grad, expected[:, None], rtol=1e-3, atol=1e-6)
    x, still = signal.clone().requires_grad_(), torch.full((4, 1), 0.5)
    hg.straight_through(lambda x: box(x, still))(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))
    # 32 directions of 600 numbers: each row's estimate is finite, and uphill on the sum of squares.
    x.grad = None
    torch.manual_seed(0)
    hg.perturb(box, (0.05, None), samples=32)(x, still).square().sum().backward()
    assert x.grad is not None
    assert (x.grad * signal).sum() > 0


# A stand-in for a VST3 file, with the habits of real ones.


class Knob:
    """What ``program.parameters[name]`` of pedalboard is, in small: a raw value behind a number in a unit."""

    python_name = "drive_db"
    type: Any = float
    min_value, max_value, label = -20.0, 20.0, "dB"

    def __init__(self, steps: int = 2**31 - 1, stuck: bool = False) -> None:
        self.raw, self.num_steps, self.is_discrete, self.stuck = 0.5, steps, True, stuck

    def get_raw_value_for(self, value: float) -> float:
        return (value + 20) / 40

    @property
    def raw_value(self) -> float:
        return self.raw

    @raw_value.setter
    def raw_value(self, value: float) -> None:
        if not self.stuck:
            self.raw = round(value * (self.num_steps - 1)) / (self.num_steps - 1)


class Standin:
    """A gain that glides to its knob over 1000 samples, whatever ``reset`` says, and may forget it while it plays."""

    is_effect = True
    reported_latency_samples = 12

    def __init__(self, forgets: bool = False, **how: Any) -> None:
        mode = Knob()
        mode.type, mode.python_name = str, "mode"
        self.parameters, self.forgets, self.gain = {"drive_db": Knob(**how), "mode": mode}, forgets, 1.0

    def process(self, signal: Any, rate: float, reset: bool) -> Any:
        assert reset
        target = 10 ** (40 * (self.parameters["drive_db"].raw - 0.5) / 20) * (
            -1 if self.parameters["mode"].raw > 0.7 else 1
        )
        glide = np.minimum(np.arange(signal.shape[1]) / 1000, 1).astype(np.float32)
        gains = self.gain + (target - self.gain) * glide
        self.gain = float(gains[-1])
        if self.forgets:
            self.parameters["drive_db"].raw = 0.5
        return (signal * gains).astype(np.float32)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def host(**how: Any) -> None:
        monkeypatch.setattr(pedalboard, "load_plugin", lambda path, plugin_name=None: Standin(**how))

    return host


def test_a_file_is_set_raw_and_glides_in_silence(hosts: Callable[..., None]) -> None:
    hosts()
    box = plugin("some/Gain.vst3", [("drive_db", -10, 20)], sample_rate=RATE)
    assert box.knobs == (Parameter("drive_db", -10, 20, "dB", "linear"),)
    assert box.latency == 12
    signal = noise(3, 2, 400)
    out = box(signal, torch.tensor([[0.0], [1.0], [1 / 3]]))
    gain = torch.tensor([10**-0.5, 10.0, 1.0])
    torch.testing.assert_close(out, gain[:, None, None] * signal, rtol=1e-4, atol=1e-5)
    hosts()
    early = plugin(Path("Gain.vst3"), [("drive_db", -10, 20)], sample_rate=RATE, settle=0)
    assert not torch.allclose(early(signal, torch.tensor([[0.0], [1.0], [1 / 3]])), out, atol=0.01)


def test_a_scale_that_is_asked_of_a_file_is_kept(hosts: Callable[..., None]) -> None:
    hosts()
    asked = [("drive_db", 1, 16, "log")]
    box, signal = plugin("Gain.vst3", asked, sample_rate=RATE), noise(1, 1, 300)
    torch.testing.assert_close(box(signal, torch.tensor([[0.5]])), 10**0.2 * signal, rtol=1e-4, atol=1e-5)


def test_what_is_no_number_is_asked_for_raw_and_fixed_values_are_set(hosts: Callable[..., None]) -> None:
    hosts()
    box, signal = plugin("Gain.vst3", ["mode"], sample_rate=RATE, fixed={"drive_db": 20.0}), noise(2, 1, 400)
    assert box.knobs == (Parameter("mode", 0, 1),)
    out = box(signal, torch.tensor([[0.2], [0.9]]))
    torch.testing.assert_close(out, torch.tensor([10.0, -10.0])[:, None, None] * signal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"stuck": True}, r"row 0.*parameter 'drive_db' must stand where it is set, got 0\.5 for 0\.9; leave it out"),
        ({"forgets": True}, r"row 0.*parameter 'drive_db' must stand where it is set, got 0\.5 for 0\.9; leave it out"),
    ],
)
def test_a_parameter_that_does_not_take_is_named(hosts: Callable[..., None], how: Any, sentence: str) -> None:
    hosts(**how)
    for options in ({"parameters": ["drive_db"]}, {"parameters": [], "fixed": {"drive_db": 16.0}}):
        box = plugin("Gain.vst3", sample_rate=RATE, **options)
        with pytest.raises(RuntimeError, match=r"BlackBox\(Gain\.vst3\): .*" + sentence):
            box(noise(1, 1, 100), *([torch.tensor([[0.9]])] if box.knobs else []))


def test_a_parameter_in_steps_may_stand_half_a_step_away(hosts: Callable[..., None]) -> None:
    hosts(steps=5)
    box, signal = plugin("Gain.vst3", ["drive_db"], sample_rate=RATE), noise(2, 1, 50)
    out = box(signal, torch.tensor([[0.13], [0.62]]))
    torch.testing.assert_close(out, torch.tensor([10**-0.5, 1.0])[:, None, None] * signal, rtol=1e-4, atol=1e-5)


def test_a_file_that_is_no_effect(hosts: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"^hardgrad_lab.audio.plugin: what must be a plug-in: .*not found") as caught:
        plugin("none/Gate.vst3", ["gate"], sample_rate=RATE)
    assert "\n" not in str(caught.value)
    hosts()
    with pytest.raises(ValueError, match=r"parameters must be some of drive_db, mode, got None; name them"):
        plugin("Gain.vst3", sample_rate=RATE)
    with pytest.raises(ValueError, match=r"a name in fixed must be one of 'drive_db', 'mode', got 'gain'"):
        plugin("Gain.vst3", ["mode"], sample_rate=RATE, fixed={"gain": 1})
    monkeypatch.setattr(pedalboard, "load_plugin", lambda path, plugin_name=None: SimpleNamespace(is_effect=False))
    with pytest.raises(ValueError, match=r"what must be an effect, got Synth\.vst3, an instrument"):
        plugin("Synth.vst3", ["mode"], sample_rate=RATE)
