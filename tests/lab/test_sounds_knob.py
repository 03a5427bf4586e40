"""A knob: a value for each recording, whose range chooses the parameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from hardgrad_lab import cli
from hardgrad_lab.commands.fit_files import SoundOptions, TableOptions, model_for, read_files
from hardgrad_lab.fit.folder import save_model
from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.sounds.knob import Knob, knob_of, stands
from hardgrad_lab.fit.sounds.pairs import Pairing, read_pairs

RATE = 8000
DRY = np.float32(np.random.default_rng(0).uniform(-0.9, 0.9, 3000)).astype(np.float64)
GAINS = {"soft": 0.0, "mid": 0.5, "loud": 1.0}
FIT = ["--target", "soft.wav,mid.wav,loud.wav", "--branch", "linear", "--no-baselines"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name, samples in {"dry": DRY, **{name: wet(gain) for name, gain in GAINS.items()}}.items():
        soundfile.write(f"{name}.wav", samples, RATE, subtype="FLOAT")


def wet(gain: float) -> NDArray[np.float64]:
    return (1 + 2 * gain) * DRY + 0.1 * gain


def run(*words: str) -> int:
    return cli.main([*words])


def test_one_input_of_all_targets_and_the_knob_as_the_key() -> None:
    how = Pairing(latency=0, knob=Knob(name="gain", values=(0.5, 0.0, 1.0)))
    table = read_pairs([Path("dry.wav")], [Path("mid.wav"), Path("soft.wav"), Path("loud.wav")], how)
    assert (table.key, list(table.inputs)) == ("gain", ["input", "gain"])
    assert np.array_equal(table.inputs["input"], np.tile(DRY, 3))
    assert np.array_equal(table.inputs["gain"], np.repeat([0.5, 0.0, 1.0], 3000))
    assert np.array_equal(table.groups, np.repeat([0, 1, 2], 3000))
    assert table.facts["knob"] == {"name": "gain", "values": [0.5, 0.0, 1.0]}
    assert how.knob is not None
    assert how.knob.points() == [0.0, 0.25, 0.75, 1.0]


def test_a_range_of_the_knob_chooses_the_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    # As the command does, without its report, which takes seconds.
    read = read_files(
        [Path("dry.wav")], FIT[1], TableOptions(), sound=SoundOptions(latency="0", knob=("gain=0,0.5,1",))
    )
    model = model_for(read, {"points": None, "learn_points": False, "branch": "linear"}, key_only=False, seed=0)
    save_model(model.fit(read.inputs, read.target, read.groups), "model", {"target": "soft", **read.facts})
    described = json.loads(Path("model/model.json").read_text())
    assert (described["columns"], described["inputs"], described["key"]) == (["input", "gain"], [0], 1)
    for asked, gain in (("0", 0.0), ("0.4", 0.5), ("1", 1.0)):
        assert run("predict", "model", "dry.wav", "--knob", f"gain={asked}", "--force") == 0
        assert np.allclose(soundfile.read("predictions.wav")[0], wet(gain), atol=1e-6)
    assert "gain=0.4 was not fitted to: the parameters of the nearest value, 0.5, are taken" in capsys.readouterr().out
    Path("column.csv").write_text("\n".join(f"{x:.17g}" for x in DRY[:50]) + "\n")
    assert run("predict", "model", "column.csv", "--knob", "gain=1", "--out", "column-out.csv") == 0
    assert np.allclose(np.genfromtxt("column-out.csv", delimiter=",", skip_header=1)[:, 2], wet(1.0)[:50])
    for words, message in (
        ([], "the model has the knob gain, and --knob must say where it stands, got none; give --knob gain=V"),
        (
            ["gain=2"],
            "--knob must be one value of gain within what was fitted to, got gain=2; give --knob gain=V with V",
        ),
        (["tone=1"], "--knob must be one value of gain within what was fitted to, got tone=1"),
        (["gain"], "--knob must be one name, other than input, and its values, as in gain=0,0.5,1, got gain; give"),
    ):
        capsys.readouterr()
        options = [part for word in words for part in ("--knob", word)]
        assert run("predict", "model", "dry.wav", "--out", "never.wav", *options) == 1
        assert message in capsys.readouterr().err
    assert not Path("never.wav").exists()


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        (["gain"], "--knob must be one name, other than input, and its values, as in gain=0,0.5,1, got gain; give"),
        (["gain="], "got gain=; give a model one knob, and the knob a value"),
        (["gain=0,0.5"], "--knob gain must have a value for each of 3 targets, in their order, got 0, 0.5"),
        (["gain=0,nan,1"], "--knob gain must have finite numbers with commas between, got 'nan' in '0,nan,1'"),
        (["gain=1,1,1"], "--knob gain must have different values to learn from, got 1, 1, 1; leave"),
        (["gain=0,0.5,1", "gain=0,1,2"], "got gain=0,0.5,1 and gain=0,1,2; give a model one knob"),
        (["input=0,0.5,1"], "--knob must be one name, other than input"),
        ([], "--target must name one file for each of 1 inputs, got 3; say with --knob NAME=V,V what differs"),
        (["gain=0,0.5,1", "--points", "-1,0,1"], "--points is for the ranges of a sound; with --knob a range of gain"),
    ],
)
def test_a_knob_that_cannot_be_is_refused(knob: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [part for word in knob for part in (("--knob", word) if "=" in word or word == "gain" else (word,))]
    assert run("fit", "dry.wav", *FIT, *words) == 1
    assert message in capsys.readouterr().err
    assert not Path("model").exists()


def test_a_model_without_a_knob_refuses_one() -> None:
    assert stands({"rate": RATE}, (), []) is None
    with pytest.raises(ValueError, match="--knob is for models fitted with one, got gain=1 for one without"):
        stands({"rate": RATE}, ["gain=1"], [])


def test_the_knob_of_a_folder() -> None:
    assert knob_of({"knob": [0.0, 1.0]}) == Knob(name="knob", values=(0.0, 1.0)), "of a device"
    notes = {"knob": {"name": "gain", "values": [0, 1]}}
    assert knob_of({"knob": [0.0, 1.0], "notes": notes}) == Knob(name="gain", values=(0.0, 1.0))
    assert knob_of({"knob": None}) is None
    with pytest.raises(FileFault, match=r"model.json must have a knob with name and values, got \{'name': 'gain'\}"):
        knob_of({"knob": {"name": "gain"}})
