"""A device predicts a sound: channel by channel, in steps, with its state handed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hardgrad_lab import cli
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.folder import save_device
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.fit.sounds.streaming import device_stream

RATE = 8000
STEREO = np.random.default_rng(0).uniform(-0.9, 0.9, (18_000, 2))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def gru(knob: list[float] | None = None) -> Device:
    torch.manual_seed(0)
    return build("gru", rate=RATE, knob=knob, hidden=4).eval()


def test_a_stream_is_the_whole_whatever_its_blocks() -> None:
    knob, device = 0.3, gru([0.0, 1.0])
    made = [
        np.concatenate(list(device_stream(device, (STEREO[i : i + n] for i in range(0, 18_000, n)), knob)))
        for n in (777, 16_384, 18_000)
    ]
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    x = torch.from_numpy(STEREO.T).float()
    with torch.no_grad():
        whole, _ = device(x, None, torch.full((2,), knob))
        alone, _ = device(x[:1], None, torch.full((1,), knob))
    assert np.allclose(made[0].T, whole.numpy(), rtol=0, atol=1e-6)
    assert np.allclose(made[0][:, 0], alone[0].numpy(), rtol=0, atol=1e-6), "a channel does not hear the other"


def test_predict_takes_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    device = gru([0.0, 1.0])
    save_device(device, "model", {"target": "wet", "latency": [12.5], "knob": {"name": "gain", "values": [0, 1]}})
    soundfile.write("new.flac", STEREO, RATE)
    heard, _ = soundfile.read("new.flac")
    assert cli.main(["predict", "model", "new.flac", "--knob", "gain=1"]) == 0
    said = capsys.readouterr().out
    assert "18,000 predictions of wet in each of 2 channels: predictions.wav" in said
    assert "came 12.5 samples late, which was taken out: the prediction is not late" in said
    made, rate = soundfile.read("predictions.wav")
    assert rate == RATE
    assert np.array_equal(made, np.concatenate(list(device_stream(device, [heard], 1.0))))
    for words, message in (
        (["new.flac"], "the model has the knob gain, and --knob must say where it stands"),
        (["new.flac", "--knob", "gain=7"], "--knob must be one value of gain within what was fitted to, got gain=7"),
        (["numbers.csv", "--knob", "gain=1"], "model is a device and hears sounds, got numbers.csv; give it a WAV"),
    ):
        Path("numbers.csv").write_text("0.5\n0.25\n")
        assert cli.main(["predict", "model", *words, "--force"]) == 1
        assert message in capsys.readouterr().err


def test_a_device_is_resampled_there_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    save_device(build("constant", rate=RATE), "model")
    time = np.arange(12_001) / 12_000
    soundfile.write("new.wav", 0.5 * np.sin(2 * np.pi * 200 * time), 12_000, subtype="FLOAT")
    assert cli.main(["predict", "model", "new.wav"]) == 1
    assert "must have the model's sample rate, 8,000 Hz, got 12,000 Hz; add --resample" in capsys.readouterr().err
    assert cli.main(["predict", "model", "new.wav", "--resample"]) == 0
    made, rate = soundfile.read("predictions.wav")
    assert (len(made), rate) == (12_001, 12_000)
