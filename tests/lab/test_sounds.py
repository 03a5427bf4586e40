"""Sounds as people have them: stereo, late, silent, of another rate, too loud, cut short, long. Closed-form answers."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray
from scipy import signal

from hardgrad_lab import cli
from hardgrad_lab.fit.estimator import SwitchClassifier, SwitchRegressor
from hardgrad_lab.fit.folder import load_model, save_model
from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.sounds import pairs, sound_file, sound_out
from hardgrad_lab.fit.sounds.alignment import find_delay
from hardgrad_lab.fit.sounds.pairs import Pairing, read_pairs
from hardgrad_lab.fit.sounds.sound_out import Form, write_sound
from hardgrad_lab.fit.sounds.streaming import Tally, overlapping, predict_stream, resampled
from hardgrad_lab.fit.tables import Table

Array = NDArray[np.float64]
RATE = 8000


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def noise(n: int = 2000, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, n)


def fold(x: Array) -> Array:
    return np.where(x < 0, -x, 0.5 * x)


def write(name: str, samples: Array, rate: int = RATE, subtype: str | None = "FLOAT") -> Path:
    soundfile.write(name, samples, rate, subtype=subtype)
    return Path(name)


def run(*words: str) -> int:
    return cli.main([str(word) for word in words])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join((captured.out + captured.err).split())


def read(dry: Array, wet: Array, channel: str = "each", latency: float | None = 0) -> Table:
    how = Pairing(channel=channel, latency=latency)
    return read_pairs([write("dry.wav", dry)], [write("wet.wav", wet)], how)


# ------------------------------------------------------------------------------------------------------------- channels


def test_each_channel_is_a_recording_of_its_own() -> None:
    left, right = noise(seed=0), noise(seed=1)
    table = read(np.c_[left, right], np.c_[fold(left), fold(right)])
    assert np.array_equal(table.inputs["input"], np.float32(np.r_[left, right]))
    assert np.array_equal(table.target, np.float32(np.r_[fold(left), fold(right)]))
    assert table.groups.tolist() == [0] * 2000 + [1] * 2000
    assert table.row.tolist() == [*range(2000), *range(2000)]
    assert any("2 channels: each is taken as a recording of its own" in note for note in table.notes)


@pytest.mark.parametrize(
    ("channel", "weights"), [("left", (1, 0)), ("right", (0, 1)), ("2", (0, 1)), ("mid", (0.5, 0.5))]
)
def test_one_channel_is_taken_with_a_line(channel: str, weights: tuple[float, float]) -> None:
    both = np.float32(np.c_[noise(seed=0), noise(seed=1)]).astype(np.float64)
    table = read(both, both**2, channel)
    assert np.allclose(table.inputs["input"], both @ weights, rtol=0, atol=1e-15)
    assert sum("taken" in note for note in table.notes) == 2


def test_channels_that_cancel_are_refused_or_said() -> None:
    x = noise()
    with pytest.raises(FileFault, match=r"dry.wav: its channels cancel in their mean"):
        read(np.c_[x, -x], np.c_[x, -x], "mid")
    table = read(np.c_[x, -0.8 * x], np.c_[x, x], "mid")
    assert any("cancel for the most part, their mean is 19 dB below them" in note for note in table.notes)


def test_a_mono_file_beside_a_stereo_one() -> None:
    x = noise()
    assert len(read(x, np.c_[fold(x), fold(x)])) == 2000
    assert len(read(np.c_[x, x], np.c_[fold(x), fold(x)])) == 2000, "equal channels are one recording"
    with pytest.raises(FileFault, match="as many channels as each other, got 1 and 2"):
        read(x, np.c_[fold(x), x])
    assert np.array_equal(read(x, np.c_[fold(x), x], "right").target, np.float32(x))
    with pytest.raises(FileFault, match=r"wet.wav must have channel 3"):
        read(x, np.c_[x, fold(x)], "3")


def test_a_silent_channel_is_left_out_with_a_line() -> None:
    x = noise()
    table = read(np.c_[x, 0 * x], np.c_[fold(x), 0 * x])
    assert len(table) == 2000
    assert any("the right channel is silent; it is left out" in note for note in table.notes)


def test_four_channels_are_four_recordings() -> None:
    x = np.stack([noise(seed=seed) for seed in range(4)], axis=1)
    assert read(x, fold(x)).facts == {"rate": RATE, "channels": [4], "latency": [0]}


# -------------------------------------------------------------------------------------------------------------- latency


def delayed(x: Array, late: int) -> Array:
    return np.r_[np.zeros(late), x[: len(x) - late]] if late >= 0 else np.r_[x[-late:], np.zeros(-late)]


CURVES = {
    "straight": lambda x: x,
    "inverted": lambda x: -0.5 * x,
    "clipped": lambda x: np.clip(4 * x, -0.5, 0.5),
    "rectified": np.abs,
    "squared": lambda x: x**2,
    "gated": lambda x: np.where(np.abs(x) < 0.3, 0.0, x),
}


@pytest.mark.parametrize("late", [-700, -1, 0, 1, 37, 1500])
@pytest.mark.parametrize("curve", CURVES)
def test_a_delay_is_found_through_any_curve(curve: str, late: int) -> None:
    x = signal.lfilter([1], [1, -0.9], noise(12_000))
    x /= np.abs(x).max()
    found = find_delay([(x, delayed(CURVES[curve](x), late))], RATE)
    assert found.sure
    assert found.samples == found.closest == late
    assert found.inverted == (curve == "inverted")


def test_a_sine_has_many_delays_and_is_left_alone() -> None:
    x = 0.5 * np.sin(2 * np.pi * 100 * np.arange(16_000) / RATE)
    table = read(x, delayed(x, 16), latency=None)
    assert table.facts["latency"] == [0]
    assert any("it is not certain by how much wet.wav comes late" in note for note in table.notes)


def test_sounds_that_have_nothing_to_do_with_each_other_are_refused_unless_one_insists() -> None:
    dry, wet = noise(12_000, 0), noise(12_000, 1)
    with pytest.raises(FileFault, match=r"dry.wav and wet.wav must belong together.*or insist with --lag N"):
        read(dry, wet, latency=None)
    assert read(dry, wet, latency=0).facts["latency"] == [0]


def test_a_device_that_no_curve_explains_is_no_stranger() -> None:
    time = np.arange(12_000) / RATE
    x = signal.lfilter([1], [1, -0.9], noise(12_000)) * np.exp(-3 * (time % 0.4))
    ring = x * np.sin(2 * np.pi * 440 * time)  # a ring modulator
    table = read(x / 10, ring / 10, latency=None)
    assert table.facts["latency"] == [0]
    assert any("no curve explains more than" in note and "loud and soft together" in note for note in table.notes)


def moved_by(x: Array, late: float) -> Array:
    """Move a periodic sound by a fraction of a sample, in its spectrum."""
    turns = np.exp(-2j * np.pi * np.fft.rfftfreq(len(x)) * late)
    return np.fft.irfft(np.fft.rfft(x) * turns, len(x))


def soft(n: int = 20_000) -> Array:
    """Return noise without its highest octave fifth, which no interpolation gives back."""
    x = signal.sosfilt(signal.butter(8, 0.8, output="sos"), signal.lfilter([1], [1, -0.9], noise(n)))
    return 0.9 * x / np.abs(x).max()


@pytest.mark.parametrize("curve", CURVES)
def test_a_delay_is_found_to_a_fraction_of_a_sample_through_any_curve(curve: str) -> None:
    x = soft(12_000)
    late = {"straight": -12.5, "gated": 5.85}.get(curve, 30.37)
    found = find_delay([(x, moved_by(CURVES[curve](x), late))], RATE)
    assert found.sure
    assert found.closest + found.fraction == pytest.approx(late, abs=0.02)
    if curve == "clipped":
        assert find_delay([(x, moved_by(CURVES[curve](x), 7.05))], RATE).fraction == 0, "too little to resample for"


def test_recordings_of_one_device_have_one_latency_where_those_that_are_sure_agree() -> None:
    sine = 0.5 * np.sin(2 * np.pi * 100 * np.arange(12_000) / RATE)
    dry, wet = [], []
    for number, (x, late) in enumerate([(noise(12_000, 0), 20), (sine, 20), (noise(12_000, 1), 18)]):
        dry.append(write(f"dry{number}.wav", x))
        wet.append(write(f"wet{number}.wav", delayed(x**3, late)))
    table = read_pairs(dry, wet)
    assert table.facts["latency"] == [18, 18, 18], "of a sine nobody can tell; the earliest keeps all that is needed"
    assert any(
        "wet1.wav comes 18 samples" in note and "as the pairs that are sure agree" in note for note in table.notes
    )
    write("wet2.wav", delayed(noise(12_000, 1), 40))
    assert read_pairs(dry, wet).facts["latency"] == [20, 0, 40], "those that do not agree have each their own"


def test_a_fraction_is_taken_out_of_the_target_said_and_stored() -> None:
    x = soft()
    y = np.tanh(3 * x)
    for latency in (None, 30.37):
        table = read(x, moved_by(y, 30.37), latency=latency)
        assert table.facts["latency"] == [pytest.approx(30.37, abs=0.01)]
        assert any(re.search(r"wet.wav comes 30\.3[67]\d? samples \(3\.8 ms\) late", note) for note in table.notes)
        assert np.array_equal(table.inputs["input"], np.float32(x)[:-30])
        assert np.abs(table.target - y[:-30])[100:-100].max() < 0.01
    assert np.abs(np.asarray(read(x, moved_by(y, 30.37), latency=30).target) - y[:-30])[100:-100].max() > 0.1


def test_a_filter_after_a_fraction_is_left_to_the_window() -> None:
    x = soft()
    y = signal.lfilter([0.7], [1, -0.3], moved_by(x, 20.4))  # which a curve alone takes for a fraction
    found = find_delay([(x, y)], RATE)
    assert (found.filtered, found.fraction) == (True, 0.0)
    assert found.samples <= 20


def test_a_filter_is_no_delay_and_nothing_it_needs_is_cut_off() -> None:
    x = signal.lfilter([1], [1, -0.8], noise(20_000))
    y = signal.lfilter([0.05], [1, -0.95], x)
    assert find_delay([(x, y)], RATE).samples == 0
    late = find_delay([(x, delayed(y, 200))], RATE)
    assert late.filtered
    assert 200 - 3 * 12 <= late.samples <= 200


def test_a_drift_of_the_clock_is_said() -> None:
    n = 160_000
    x = signal.lfilter([1], [1, -0.9], noise(n))
    x /= np.abs(x).max()
    table = read(x, np.interp(np.arange(n) * (1 - 100e-6) - 20, np.arange(n), np.tanh(x)), latency=None)
    # From the middle of the first third to that of the last are two thirds of 160,000 samples, less the half seconds.
    drift = next(re.search(r"grows by (\d+) samples", note) for note in table.notes if "seems to drift" in note)
    assert drift is not None
    assert 8 <= int(drift[1]) <= 13


def test_a_delay_is_taken_out_said_stored_and_told_when_predicting(capsys: pytest.CaptureFixture[str]) -> None:
    x = noise(8000)
    write("dry.wav", x)
    write("wet.wav", delayed(fold(x), 16))
    table = read_pairs([Path("dry.wav")], [Path("wet.wav")])
    assert any("wet.wav comes 16 samples (2 ms) late against dry.wav" in note for note in table.notes)
    model = SwitchRegressor([-1, 0, 1], branch="linear", random_state=0).fit(table.inputs, table.target)
    save_model(model, "model", table.facts)  # as the command does, without its report, which takes seconds
    described = json.loads(Path("model/model.json").read_text())
    assert (described["rate"], described["latency"], described["channels"]) == (RATE, [16], [1])
    assert run("predict", "model", "dry.wav") == 0
    assert "the prediction is not late, it begins with the input" in said(capsys)
    predicted, _ = soundfile.read("predictions.wav")
    assert np.corrcoef(predicted, fold(x))[0, 1] > 0.9


def test_a_latency_that_is_given_is_taken_as_given() -> None:
    x = np.float32(noise()).astype(np.float64)
    late = read(x, delayed(x, 5), latency=3)
    assert np.array_equal(late.inputs["input"], x[:-3])
    assert np.array_equal(late.target, delayed(x, 5)[3:])
    early = read(x, delayed(x, -5), latency=-5)
    assert np.array_equal(early.inputs["input"], x[5:])
    assert np.array_equal(early.target, x[5:])
    assert early.row[0] == 5
    with pytest.raises(FileFault, match="do not overlap"):
        read(x, x, latency=5000)


def test_a_target_that_is_late_and_longer_by_that_is_a_pair() -> None:
    x = noise(16_000)
    table = read(x, np.r_[np.zeros(2000), x], latency=None)
    assert len(table) == 16_000
    assert np.array_equal(table.inputs["input"], table.target)


# --------------------------------------------------------------------------------------------- levels and damaged files


@pytest.mark.parametrize(
    ("dry", "wet", "message"),
    [
        (0.0, None, "dry.wav is silent: a constant input decides nothing"),
        (0.25, None, "dry.wav holds one value, 0.25, from beginning to end"),
        (None, 0.0, "wet.wav is silent: there is nothing to learn in a constant target"),
        (None, np.nan, "wet.wav: every sample must be a number, got nan at sample 0 of channel 1"),
        (np.inf, None, "dry.wav: every sample must be a number, got inf"),
    ],
)
def test_what_never_changes_or_is_no_number_is_refused(dry: float | None, wet: float | None, message: str) -> None:
    given = [noise(100) if value is None else np.full(100, value) for value in (dry, wet)]
    with pytest.raises(FileFault, match=re.escape(message)):
        read(*given)


def test_quiet_clipped_and_shifted_sounds_are_said() -> None:
    x = noise(8000)
    notes = " ".join(read(np.clip(2 * x, -1, 1), 1e-4 * x + 0.5).notes)
    # |x| > 0.5 is clipped, 4/9 of the samples, of which three in a row or more of one sign are flat tops.
    assert re.search(r"dry.wav: \d,?\d+ samples \(\d+\.\d+%\) stand in flat tops at 1", notes)
    assert "wet.wav lies around 0.5, not around 0" in notes
    assert "wet.wav is very quiet: its peak is -81 dB of full scale" in " ".join(read(x, 1e-4 * x).notes)


# Bits of what soundfile writes without loss; one more step, since full scale differs by one from format to format.
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 25, "DOUBLE": 53}
FORMATS = {"WAV": ".wav", "WAVEX": ".wav", "RF64": ".rf64", "W64": ".w64", "AIFF": ".aif", "FLAC": ".flac"}
FORMATS |= {"CAF": ".caf", "AU": ".au"}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_form_is_read_as_it_was_written(kind: str) -> None:
    x = np.stack([noise(500, seed) for seed in range(2)], axis=1)
    subtypes = [subtype for subtype in soundfile.available_subtypes(kind) if subtype in BITS]
    assert len(subtypes) >= 3
    for number, subtype in enumerate(subtypes):
        for channels in (1, 2):
            path, rate = Path(f"{subtype}{channels}{FORMATS[kind]}"), (8000, 44_100, 11_127, 96_000)[number % 4]
            soundfile.write(path, x[:, :channels], rate, subtype=subtype, format=kind)
            sound = sound_file.read_sound(path)
            assert (sound.rate, sound.notes) == (rate, ())
            assert np.allclose(sound.samples, x[:, :channels], rtol=0, atol=2.0 ** (2 - BITS[subtype]))


def test_a_lossy_form_is_said_and_a_telephone_s_refused() -> None:
    x = noise(4000)
    for name, subtype, kind in (("e.mp3", None, "MP3"), ("f.wav", "ULAW", "WAV"), ("g.ogg", None, "OGG")):
        soundfile.write(name, x, RATE, subtype=subtype, format=kind)
        assert f"{name} is lossy (" in sound_file.read_sound(Path(name)).notes[0]
    soundfile.write("h.wav", x, RATE, subtype="GSM610")
    with pytest.raises(FileFault, match=r"h.wav cannot be read as sound.*coded as GSM610; convert it: ffmpeg -i h.wav"):
        sound_file.read_sound(Path("h.wav"))


def test_a_wrong_suffix_does_not_matter() -> None:
    x = noise(4000)
    soundfile.write("f.wav", x, RATE, format="FLAC")
    assert sound_file.is_sound(Path("f.wav"))
    assert len(sound_file.read_sound(Path("f.wav")).samples) == 4000
    soundfile.write("a.wav", x, RATE, subtype="PCM_U8")
    Path("g.take").write_bytes(Path("a.wav").read_bytes())
    assert sound_file.is_sound(Path("g.take"))


def test_of_long_sounds_a_part_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST", 1500)
    x = np.float32(noise()).astype(np.float64)
    table = read(x, fold(x))
    assert np.array_equal(table.inputs["input"], x[:1500])
    assert "dry.wav is 0.00417 minutes long: its first 0.00313, 1,500 samples, are used" in table.notes


def damaged() -> Iterator[tuple[str, bytes, str]]:
    soundfile.write("whole.wav", noise(4000), RATE, subtype="PCM_16")
    soundfile.write("whole.flac", noise(4000), RATE)
    wav, flac = Path("whole.wav").read_bytes(), Path("whole.flac").read_bytes()
    yield "empty.wav", b"", "it is empty, 0 bytes"
    yield "none.wav", wav[:44], "has no samples"
    yield "unfinished.wav", wav[:40] + struct.pack("<I", 0) + wav[44:], "its header was never completed; repair it"
    yield "cut.flac", flac[: len(flac) // 2], "it is damaged, cut short or no sound file"
    yield "text.wav", b"x,y\n1,2\n" * 100, "it is damaged, cut short or no sound file"
    yield "song.m4a", b"\0\0\0\x20ftypM4A ", "convert it: ffmpeg -i song.m4a song.wav"
    yield "take.raw", wav[44:], "convert it: ffmpeg -i take.raw"


def test_damaged_files_are_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name, content, message in damaged():
        Path(name).write_bytes(content)
        with pytest.raises(FileFault) as caught:
            sound_file.read_sound(Path(name))
        assert message in str(caught.value)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_is_said() -> None:
    soundfile.write("whole.wav", noise(4000), RATE, subtype="PCM_16")
    Path("cut.wav").write_bytes(Path("whole.wav").read_bytes()[:4044])
    sound = sound_file.read_sound(Path("cut.wav"))
    assert len(sound.samples) == 2000
    assert "its header promises 8,000 bytes of sound and 4,000 are there" in sound.notes[0]
    assert sound_file.read_sound(Path("whole.wav")).notes == ()
    with pytest.raises(FileFault, match=r"must be equally long, got 4,000 and 2,000.*; cut.wav: its header promises"):
        read_pairs([Path("whole.wav")], [Path("cut.wav")])


# ----------------------------------------------------------------------------------------------------------- predicting


@pytest.fixture(scope="module")
def models() -> dict[int, SwitchRegressor]:
    x = noise(3000)
    y = fold(x) + 0.3 * np.r_[0, x[:-1]]
    return {
        window: SwitchRegressor([-1, -0.2, 0.4, 1], window=window, hidden=(8,), epochs=1, random_state=0).fit(
            x[:, None], y, np.zeros(3000)
        )
        for window in (1, 5, 300)
    }


@pytest.mark.parametrize("window", [1, 5, 300])
@pytest.mark.parametrize("size", [1, 777, 4096, 100_000])
def test_a_stream_is_predicted_bit_for_bit_as_the_whole(
    models: dict[int, SwitchRegressor], window: int, size: int
) -> None:
    n = 40 if size == 1 else {1: 40_000, 5: 40_000, 300: 2000}[window]  # more than two steps of each
    x = np.stack([noise(n, 1), noise(n, 2)], axis=1)
    tally = Tally()
    blocks = (x[begin : begin + size] for begin in range(0, n, size))
    predicted = np.concatenate(list(predict_stream(models[window], blocks, tally)))
    whole = np.stack([models[window].predict(x[:, [c]], np.zeros(n)) for c in range(2)], axis=1)
    assert np.array_equal(predicted, whole)
    index = models[window].route(x.T.reshape(-1, 1))
    assert tally.visits == np.bincount(index, minlength=3).tolist()


def test_a_stream_is_held_block_by_block(models: dict[int, SwitchRegressor]) -> None:
    # 10 million samples would be 80 MB a copy: what is predicted comes out before the next block is asked for.
    asked = 0

    def endless() -> Iterator[Array]:
        nonlocal asked
        while True:
            asked += 1
            yield np.zeros((1000, 1))

    stream = predict_stream(models[5], endless(), Tally())
    for number in range(1, 10):
        assert len(next(stream)) == 16_384, "131,072 values of the widest layer, 8"
        assert asked <= 16.4 * number + 1.1


def test_parts_overlap_as_asked_for() -> None:
    x = np.arange(23.0)[:, None]
    for size in (1, 4, 23, 50):
        for back, ahead in ((0, 0), (3, 0), (30, 2), (5, 7)):
            seen = 0
            for part, before, count in overlapping((x[i : i + 3] for i in range(0, 23, 3)), size, back, ahead):
                begin, end = max(0, seen - back), min(23, seen + count + ahead)
                assert (before, part[:, 0].tolist()) == (seen - begin, list(range(begin, end)))
                seen += count
            assert seen == 23


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 48_000), (48_000, 44_100), (8000, 16_000), (96_000, 8000)])
def test_a_stream_is_resampled_as_the_whole(rate: int, wanted: int) -> None:
    x = np.random.default_rng(0).normal(size=(200_000, 2))
    made = np.concatenate(list(resampled((x[i : i + 30_000] for i in range(0, len(x), 30_000)), rate, wanted)))
    whole = signal.resample_poly(x, wanted, rate, axis=0)
    assert made.shape == whole.shape
    assert np.allclose(made, whole, rtol=0, atol=1e-12)


@pytest.fixture
def folded() -> None:
    x = pd.DataFrame({"input": noise(3000)})
    model = SwitchRegressor([-1, 0, 1], branch="linear", lr=0.05, epochs=4, random_state=0)
    model.fit(x, 2 * fold(x["input"].to_numpy()))
    save_model(model, "model", {"rate": RATE, "channels": [1], "latency": [0], "target": "wet"})
    write("dry.wav", noise(3000))


@pytest.mark.usefixtures("folded")
def test_stereo_in_is_stereo_out_of_the_same_length() -> None:
    x = np.stack([noise(1000, seed) for seed in range(2)], axis=1)
    write("new.wav", x)
    assert run("predict", "model", "new.wav") == 0
    heard, rate = soundfile.read("predictions.wav")
    assert (heard.shape, rate) == ((1000, 2), RATE)
    assert np.allclose(
        heard[:, 0], np.float32(load_model("model").predict(pd.DataFrame({"input": np.float32(x[:, 0])})))
    )
    assert np.corrcoef(heard[:, 1], fold(x[:, 1]))[0, 1] > 0.9


@pytest.mark.usefixtures("folded")
def test_another_rate_is_refused_or_resampled_there_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    t = np.arange(6001) / 12_000
    write("new.wav", 0.5 * np.sin(2 * np.pi * 200 * t), 12_000)
    assert run("predict", "model", "new.wav") == 1
    assert "must have the model's sample rate, 8,000 Hz, got 12,000 Hz; add --resample, or" in said(capsys)
    assert not Path("predictions.wav").exists()
    assert run("predict", "model", "new.wav", "--resample") == 0
    assert "is resampled from 12,000 to 8,000 Hz, and the prediction back" in said(capsys)
    heard, rate = soundfile.read("predictions.wav")
    assert (len(heard), rate) == (6001, 12_000)
    assert np.corrcoef(heard, fold(np.sin(2 * np.pi * 200 * t)))[0, 1] > 0.9


@pytest.mark.usefixtures("folded")
def test_a_folder_without_a_rate_is_said_and_one_with_a_wrong_one_refused(capsys: pytest.CaptureFixture[str]) -> None:
    described = json.loads(Path("model/model.json").read_text())
    for rate, status, message in (
        (None, 0, "the model does not say for which sample rate it was fitted; dry.wav has 8,000 Hz"),
        ("fast", 1, "must have a sample rate in Hz, above 0, as rate, got 'fast'"),
    ):
        Path("model/model.json").write_text(json.dumps({**described, "rate": rate}))
        assert run("predict", "model", "dry.wav", "--force") == status
        assert message in said(capsys)


@pytest.mark.usefixtures("folded")
def test_a_sound_is_not_written_over_itself(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("dry.wav").read_bytes()
    assert run("predict", "model", "dry.wav", "--out", "dry.wav", "--force") == 1
    assert "--out must not be the sound that is read" in said(capsys)
    assert Path("dry.wav").read_bytes() == before


LOUD = np.array([[0.5], [-2.0], [1.5], [0.0]])


def out(name: str, too_loud: sound_out.TooLoud, samples: Array = LOUD) -> list[str]:
    return write_sound(
        Path(name), iter([samples[:2], samples[2:]]), Form(rate=RATE, channels=1, frames=len(samples)), too_loud
    )


def test_floats_hold_everything_and_flac_says_what_it_cannot() -> None:
    for name in ("a.wav", "a.aiff", "a.caf", "a.w64", "a.au"):
        assert out(name, "float") == []
        assert np.array_equal(soundfile.read(name)[0], LOUD[:, 0])
    with pytest.raises(
        FileFault, match=r"b.flac was not written.*2 of 4 samples are above it, the peak is 2 \(\+6\.0 dB\)"
    ):
        out("b.flac", "float")
    assert not Path("b.flac").exists()
    assert np.array_equal(soundfile.read("b-float.wav")[0], LOUD[:, 0])
    assert any("2 samples above full scale, up to 2, are clipped" in note for note in out("c.flac", "clip"))
    assert np.allclose(soundfile.read("c.flac")[0], [0.5, -1, 1, 0], atol=2**-23)
    assert any("6.02 dB quieter than the prediction" in note for note in out("d.flac", "scale"))
    assert np.allclose(soundfile.read("d.flac")[0], LOUD[:, 0] / 2, atol=2**-22)
    assert not Path("d-float.wav").exists()


def test_flac_holds_24_bits_and_ogg_is_said_to_be_lossy() -> None:
    x = noise(20_000)[:, None]
    assert out("a.flac", "float", x) == ["a.flac holds 24 bits a sample"]
    assert np.allclose(soundfile.read("a.flac")[0], x[:, 0], atol=2**-23)
    assert "lossy" in out("a.ogg", "float", x)[0]
    assert len(soundfile.read("a.ogg")[0]) == 20_000
    assert sorted(path.name for path in Path().iterdir()) == ["a.flac", "a.ogg"]


def test_a_form_that_a_format_cannot_hold_is_refused_before_anything_is_predicted() -> None:
    with pytest.raises(FileFault, match=r"x.flac cannot hold 9 channels at 8,000 Hz, as FLAC; choose --out with .wav"):
        sound_out.check_form(Path("x.flac"), Form(rate=RATE, channels=9, frames=10))
    with pytest.raises(FileFault, match="more than 4 GiB"):
        sound_out.check_form(Path("x.aiff"), Form(rate=RATE, channels=1, frames=2**30))


def test_a_prediction_that_fails_leaves_nothing() -> None:
    def broken() -> Iterator[Array]:
        yield LOUD
        raise FileFault("the end")

    for name in ("a.wav", "a.flac"):
        with pytest.raises(FileFault, match="the end"):
            write_sound(Path(name), broken(), Form(rate=RATE, channels=1, frames=8), "clip")
    assert list(Path().iterdir()) == []


def test_a_classifier_makes_no_sound(capsys: pytest.CaptureFixture[str]) -> None:
    x = noise(200)
    table = pd.DataFrame({"input": x})
    save_model(SwitchClassifier([-1, 0, 1], branch="linear", epochs=1).fit(table, x > 0.2), "words")
    write("dry.wav", x)
    assert run("predict", "words", "dry.wav") == 1
    assert "the model must predict numbers to make a sound of dry.wav, got one that predicts classes" in said(capsys)


def test_options_of_sounds_are_refused_for_tables(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.csv").write_text("x,y\n" + "".join(f"{i},{i % 7}\n" for i in range(40)))
    assert run("fit", "data.csv", "--target", "y", "--latency", "3") == 1
    assert "--channel, --lag and --knob are for pairs of sounds" in said(capsys)
    write("dry.wav", noise(100))
    for option, value, message in (
        ("--channel", "side", "--channel must be each, left, right, mid or a number from 1, got 'side'"),
        ("--latency", "late", "--lag must be auto or a number of samples, got 'late'"),
    ):
        assert run("fit", "dry.wav", "--target", "dry.wav", option, value) == 1
        assert message in said(capsys)
