"""What the page on a fit of sounds says, plays and draws."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

from hardgrad_lab import cli
from hardgrad_lab.devices.folder import load_device
from hardgrad_lab.fit.page.level_figures import static
from hardgrad_lab.fit.page.levels import Shape
from hardgrad_lab.fit.page.listen import TURN_S, players
from hardgrad_lab.fit.page.recognize import levels_of
from hardgrad_lab.fit.page.sound import MOST_SAMPLES, Sound, Stretch, Voice, sound_of
from hardgrad_lab.fit.rivals.scores import Margin, Score, of_sound
from hardgrad_lab.fit.tables import Table
from lab.pages import Page, check_figures

RATE = 8000
Array = NDArray[np.float64]


def plucks(seconds: float = 8.0, seed: int = 0) -> Array:
    """Return plucked tones of different loudness, 20 dB apart, with a little hiss between them."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    made = 1e-3 * random.normal(size=len(time))
    for begin in np.arange(0, seconds, 0.4):
        since = time - begin
        tone = np.sin(2 * np.pi * random.uniform(150, 600) * since) * np.exp(-since / random.uniform(0.05, 0.3))
        made += np.where(since >= 0, tone, 0) * 10 ** (-random.uniform(0, 20) / 20)
    return 0.5 * made


def envelope(x: Array, ms: float) -> Array:
    keep = np.exp(-1000 / (ms * RATE))
    return np.sqrt(np.maximum(lfilter([1 - keep], [1, -keep], x * x), 1e-12))


def compressor(x: Array) -> Array:
    """Return x, 4:1 above -20 dB."""
    return 10 ** (-0.75 * np.maximum(20 * np.log10(envelope(x, 20)) + 20, 0) / 20) * x


def gate(x: Array) -> Array:
    """Return x, 30 dB softer below -30 dB."""
    return np.where(20 * np.log10(envelope(x, 20)) < -30, 10 ** (-30 / 20), 1) * x


def seen(box: Callable[[Array], Array], dry: Array | None = None) -> Shape:
    x = plucks() if dry is None else dry
    y = box(x)
    found = levels_of([(x, y, y, np.zeros(len(x), dtype=np.int64))], RATE)
    assert found is not None
    return found.shape


# ------------------------------------------------------------------------------------------- what the levels look like


def test_a_compressor_is_recognized_with_its_threshold_and_ratio() -> None:
    found = seen(compressor)
    assert found.kind == "compressor"
    assert found.threshold_db == pytest.approx(-20, abs=2)
    assert found.ratio == pytest.approx(4, rel=0.15)
    assert found.gain_db == pytest.approx(0, abs=0.5)
    assert "a ratio of about" in found.said()
    assert "try --memory compressor" in found.said()
    # Level in, level out: below the threshold as loud as it was, above it a quarter of a dB for each.
    assert found.curve(np.array([-40.0, -10.0, -6.0])) == pytest.approx([-40, -17.5, -16.5], abs=1)


def test_a_gate_is_recognized_with_its_threshold_and_range() -> None:
    found = seen(gate)
    assert found.kind == "gate"
    assert found.threshold_db == pytest.approx(-30, abs=2)
    assert found.range_db == pytest.approx(30, abs=3)
    assert "try --memory gate" in found.said()
    assert found.curve(np.array([-50.0, -10.0])) == pytest.approx([-80, -10], abs=4)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (lambda x: 0.5 * x, "gain"),
        (lambda x: -0.5 * x + 1e-4 * np.random.default_rng(1).normal(size=len(x)), "gain"),
        (lambda x: np.clip(3 * x, -0.3, 0.3), "curve"),
        (lambda x: np.tanh(8 * x), "curve"),
        (lambda x: np.where(np.abs(x) < 0.05, 0, x), "curve"),
        (lambda x: np.sin(9 * x), "curve"),
        (lambda x: 0.1 * np.random.default_rng(1).normal(size=len(x)), ""),
        (lambda x: 0.5 * x + 0.02 * np.random.default_rng(1).normal(size=len(x)), ""),
        (lambda x: lfilter([0.1], [1, -0.9], np.tanh(8 * lfilter([0.2], [1, -0.8], x))), ""),
        (lambda x: x + 0.6 * np.roll(x, 2400), ""),
        (lambda x: lfilter([1, 0.8], [1.8], np.tanh(4 * x)), "curve"),
        (lambda x: np.tanh(4 * lfilter([1, 0.8], [1.8], x)), "curve"),
    ],
    ids=[
        "gain",
        "gain upside down",
        "clipper",
        "tanh",
        "dead zone",
        "fold",
        "noise",
        "hiss",
        "amplifier",
        "echo",
        "drive into a filter",
        "filter into a drive",
    ],
)
def test_a_box_without_a_detector_is_not_called_a_compressor(box: Callable[[Array], Array], kind: str) -> None:
    found = seen(box)
    assert found.kind == kind
    assert found.said() == ""


def test_a_clipper_is_no_gain_where_all_is_equally_loud() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    assert seen(lambda x: np.clip(8 * x, -0.5, 0.5), tone).kind == ""
    assert seen(lambda x: 0.25 * x, tone).kind == "gain"


def test_levels_say_nothing_of_silence_and_of_a_blink() -> None:
    x = plucks(0.3)
    index = np.zeros(len(x), dtype=np.int64)
    assert levels_of([(x, x, x, index)], RATE) is None
    x = plucks(2)
    index = np.zeros(len(x), dtype=np.int64)
    assert levels_of([(x, 0 * x, x, index)], RATE) is None
    assert levels_of([(0 * x, x, x, index)], RATE) is None


def test_frames_have_a_range_only_where_it_does_not_change_within_them() -> None:
    x = plucks()
    by_level, by_sample = (envelope(x, 50) > 0.05).astype(np.int64), (x > 0).astype(np.int64)
    for index, ranges in ((by_level, [0, 1]), (by_sample, [0])):
        found = levels_of([(x, x, x, index)], RATE)
        assert found is not None
        assert np.unique(found.index).tolist() == ranges


# ------------------------------------------------------------------------------------------------------ what is played


def voice(dry: Array, wet: Array, ours: Array, name: str = "") -> Voice:
    index = np.zeros(len(dry), dtype=np.int64)
    stretch = Stretch(file="dry.wav", begin=0.0, dry=dry, truth=wet, predicted=ours, index=index)
    return Voice(name=name, stretches=[stretch], held_out=1, levels=None, esr=0.1)


def test_box_and_model_are_heard_in_turn_at_one_place_and_dry_as_loud_as_wet() -> None:
    wet = 0.5 * plucks(2.0)
    (made,) = players(Sound(rate=RATE, voices=[voice(0.1 * wet, wet, -wet)], power=1, powers=[1], speed=1), unseen=True)
    dry, box, model, turns, error = (soundfile.read(io.BytesIO(base64.b64decode(clip.data)))[0] for clip in made.clips)
    middle = slice(100, -100)  # the ends are faded
    assert np.abs(dry - box)[middle].max() < 1e-3
    assert "+20.0 dB" in made.clips[0].name
    turn = int(TURN_S * RATE)
    for begin, there in ((0, box), (turn, model)):
        part = slice(begin + 50, begin + turn - 50)
        assert np.abs(turns - there)[part].max() < 1e-3
    assert np.abs(error - (model - box)).max() < 1e-3


class Same:
    """A model that makes of a sound what it is."""

    def predict(self, inputs: pd.DataFrame) -> Array:
        return inputs["input"].to_numpy()


def a_sound(pairs: list[tuple[Array, Array]], rate: int, facts: dict[str, Any]) -> Sound:
    """Return what is told of recordings whose second half is the test, by a model that changes nothing."""
    dry, wet = (np.concatenate(each) for each in zip(*pairs, strict=True))
    groups = np.repeat(np.arange(len(pairs)), [len(each) for each, _ in pairs])
    row = np.concatenate([np.arange(len(each)) for each, _ in pairs])
    table = Table(
        inputs=pd.DataFrame({"input": dry}), target=wet, key="input", groups=groups, file=groups, row=row,
        paths=[Path(f"{i}.wav") for i in range(len(pairs))], rate=rate, facts=facts,
    )  # fmt: skip
    half = np.concatenate([np.arange(len(each)) >= len(each) // 2 for each, _ in pairs])
    index = np.zeros(len(dry), dtype=np.int64)
    fitted: Any = SimpleNamespace(test=np.flatnonzero(half), predicted=dry, index=index, model=Same(), device=None)
    found = sound_of(fitted, table, 1)
    assert found is not None
    return found


def test_each_place_of_the_knob_has_its_players_its_error_and_its_curve() -> None:
    dry = plucks(4)
    boxes = {"gain 0": lambda x: x, "gain 0.5": compressor, "gain 1": gate}
    sound = a_sound(
        [(dry, box(dry)) for box in boxes.values()], RATE, {"knob": {"name": "gain", "values": [0, 0.5, 1]}}
    )
    assert [voice.name for voice in sound.voices] == list(boxes)
    assert [voice.levels and voice.levels.shape.kind for voice in sound.voices] == ["gain", "compressor", "gate"]
    for voice, box in zip(sound.voices, boxes.values(), strict=True):
        wet = box(dry)[2 * RATE :]
        assert voice.esr == pytest.approx(((dry[2 * RATE :] - wet) ** 2).sum() / (wet**2).sum())
    assert sum(len(each.dry) for each in sound.stretches) <= 5 * RATE
    figure = static(sound)
    assert figure is not None
    assert [panel.get_title() for panel in figure.panels] == list(boxes)
    assert "a gate that fits" in figure.panels[2].get_legend_handles_labels()[1]


def test_a_page_stays_small_at_any_rate() -> None:
    loud = np.random.default_rng(0).uniform(-1, 1, 3 * MOST_SAMPLES)
    sound = a_sound([(loud, loud)], 192_000, {})
    assert sum(len(each.dry) for each in sound.stretches) == MOST_SAMPLES
    heard = players(sound, unseen=True)
    # 16 bits of noise cannot be packed; base64 makes four letters of three bytes. The error is silence.
    assert sum(len(clip.data) for each in heard for clip in each.clips) < 4.1 * MOST_SAMPLES * 2 * 4 / 3


# ----------------------------------------------------------------------------------------------------- what is measured


def test_a_score_of_a_sound_is_of_energies() -> None:
    margin = Margin(factor=2.0, low=1.5, high=3.0)
    score = Score(
        name="ridge", described="", ranges=[0.1, None, 0.3], parameters=1, active=1, updates=0, seconds=0, rmse=0.2,
        r2=None, margin=margin,
    )  # fmt: skip
    found = of_sound(score, 0.4, [0.1, None, 0.9])
    assert found.error == pytest.approx(0.1)
    assert found.ranges == pytest.approx([0.1, None, 0.1])
    assert found.margin == Margin(factor=4.0, low=2.25, high=9.0)
    assert found.said == "10 %, -10.0 dB"
    assert of_sound(score, 0.0, [0.0, None, 0.0]).said == "-, -"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the folder of a fit to a compressor, whose search is short."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RATIOS": (4.0,), "BELOW_DB": (14.0,), "BEST": 1, "SHORT": 4, "LONG": 4}.items():
            patch.setattr(f"hardgrad_lab.devices.dynamics.{name}", value)
        patch.setattr("hardgrad_lab.fit.kinds.passes_in", lambda *given: 5)
        yield _fitted(tmp_path_factory)


def _fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("fitted")
    dry = plucks(4.0)
    for name, samples in (("dry", dry), ("wet", compressor(dry))):
        soundfile.write(at / f"{name}.wav", samples, RATE, subtype="FLOAT")
    words = ["fit", at / "dry.wav", "--target", at / "wet.wav", "--points=-1,0,1", "--hidden", "4", "--epochs", "1"]
    kinds = ["--memory", "window,compressor", "--minutes", "0.01"]
    assert cli.main([*map(str, words), *kinds, "--no-baselines", "--out", str(at / "model")]) == 0
    return at / "model"


def test_page_terminal_and_record_say_the_same_of_a_sound(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, record = (fitted / "report.html").read_text(), json.loads((fitted / "model.json").read_text())["notes"]
    Page(text).check()
    # Transfer, wave twice, levels twice, spectra twice, rivals, the training of the compressor; no ranges.
    assert check_figures(text) == 2 * 9
    assert [each["name"] for each in record["scores"]][:2] == ["compressor", "switch"]
    assert load_device(fitted).describe() in text, "its settings in their units, beside the curve"
    assert "The compressor&#39;s error on unseen samples" in text
    assert "try --memory compressor" not in text
    said = re.search(r"a ratio of about ([\d.]+)", text)
    assert said is not None
    levels = record["sound"][0]["levels"]
    assert (levels["kind"], f"{levels['ratio']:.2g}") == ("compressor", said[1])
    assert f"{record['times_real_time']:,.0f}x" in text
    esr = record["scores"][0]["esr"]
    assert f"is {100 * esr:.3g} % of the energy of wet" in text
    assert all(row["esr"] > 0 for row in record["ranges"])
