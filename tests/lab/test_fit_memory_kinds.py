"""fit --memory: kinds are tried on sounds, one is chosen on held-out time; the fit can be stopped within one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy.signal import lfilter

from hardgrad_lab import SwitchRegressor
from hardgrad_lab.cli import main
from hardgrad_lab.devices import clips, passes
from hardgrad_lab.devices.choose import Tried
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.fit import kinds
from hardgrad_lab.fit.folder import load_any
from hardgrad_lab.fit.job import Job
from hardgrad_lab.fit.kinds import Memory, Trials
from hardgrad_lab.fit.sounds.pairs import read_pairs
from hardgrad_lab.fit.tables import Table, shortened
from hardgrad_lab.runs.signals import Interrupted

RATE, N = 8000, 8_000
FIT = ["fit", "dry.wav", "--target", "wet.wav", "--search", "1", "--epochs", "1", "--hidden", "3", "--no-baselines"]


@pytest.fixture(autouse=True)
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise through one pole; a training of some passes takes a moment."""
    monkeypatch.chdir(tmp_path)
    for module in (clips, passes):
        monkeypatch.setattr(module, "WARM_UP", 64)
    monkeypatch.setattr(clips, "LENGTH", 1600)
    monkeypatch.setattr("hardgrad_lab.devices.recurrent.Recurrent.chunk", 200)
    monkeypatch.setattr(clips, "BATCH", 4)
    monkeypatch.setattr(kinds, "passes_in", lambda *given: 8)
    monkeypatch.setattr(kinds, "BASELINE", "lstm")  # no other is trained besides
    x = 0.2 * np.random.default_rng(0).normal(size=N)
    soundfile.write("dry.wav", x, RATE, "FLOAT")
    soundfile.write("wet.wav", np.asarray(lfilter([0.1], [1, -0.9], x)), RATE, "FLOAT")


def job(saved: str, memory: Memory, tell: Callable[[str, Any], None] = lambda name, training: None) -> Job:
    model = SwitchRegressor([-1, 0, 1], branch="linear", random_state=0, key="input")
    read = read_pairs([Path("dry.wav")], [Path("wet.wav")])
    return Job(
        model=model, table=read, seed=0, test_share=0.1, compared=False, saved=Path(saved), tell=tell, memory=memory
    )


def said() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("model/model.json").read_text())
    return found


def test_a_device_is_chosen_and_its_folder_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--memory", "lstm", "--minutes", "0.1"]) == 0
    told = capsys.readouterr().out
    assert "of 0.1 minutes each kind with a memory was given" in told
    assert "they took, with what they begin with: lstm" in " ".join(told.split())
    assert "chosen is lstm, whose error on held-out time is" in told
    content = said()
    assert (content["format"], content["kind"], content["rate"]) == ("hardgrad-device-1", "lstm", RATE)
    assert content["spec"] == {"cell": "lstm", "hidden": 3}, "--hidden is the units, too"
    names = [score["name"] for score in content["notes"]["scores"]]
    assert names[:2] == ["lstm", "switch"], "the chosen one first"
    assert {"constant", "filter", "table"} <= set(names)
    assert load_any("model").kind == "lstm"  # type: ignore[union-attr]  # a device


def test_a_fit_stopped_within_a_kind_is_resumed_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(name: str, training: Any) -> None:
        if name == "lstm" and training.steps == 5:
            os.kill(os.getpid(), signal.SIGINT)

    lstm = Memory(kinds=("lstm",), window=False, units=2)
    whole = job("whole.pt", lstm).run(resume=False)
    with pytest.raises(Interrupted):
        job("stopped.pt", lstm, stop).run(resume=False)
    monkeypatch.setattr(kinds, "passes_in", lambda *given: pytest.fail("how long it trains was decided before"))
    resumed = job("stopped.pt", lstm).run(resume=True)
    assert whole.device is not None
    assert resumed.device is not None
    for name, tensor in whole.device.state_dict().items():
        assert torch.equal(tensor, resumed.device.state_dict()[name]), name
    assert np.array_equal(whole.predicted, resumed.predicted)
    assert [each.error for each in whole.scores] == [each.error for each in resumed.scores]


def test_no_kind_is_tried_by_itself_where_nothing_before_matters() -> None:
    auto = Memory(kinds=("lstm",), auto=True, units=2)
    x, _ = soundfile.read("dry.wav")
    soundfile.write("wet.wav", np.abs(x), RATE, "FLOAT")
    fitted = job("still.pt", auto).run(resume=False)
    assert (fitted.device, fitted.said) == (None, [])
    assert [score.name for score in fitted.scores] == ["switch"]
    soundfile.write("wet.wav", np.asarray(lfilter([0.1], [1, -0.9], x)), RATE, "FLOAT")
    fitted = job("moving.pt", auto).run(resume=False)
    assert "the 63 rows before each would explain at least" in fitted.said[0]
    assert fitted.said[0].endswith("models with a memory were tried")
    assert {score.name for score in fitted.scores} == {"switch", "constant", "filter", "table", "lstm"}
    errors = [score.error for score in fitted.scores if score.name == fitted.scores[0].name]
    rows = fitted.test
    wet, _ = soundfile.read("wet.wav")
    assert errors == [pytest.approx(float(np.sqrt(np.square(wet[rows] - fitted.predicted[rows]).mean())), rel=1e-5)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "lstm,echo"], "--memory must be auto, window, or of "),
        (["--memory", "lstm", "--minutes", "0"], "--minutes must be greater than 0, got 0.0"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FIT, *options]) != 0
    assert words in capsys.readouterr().err
    assert sorted(os.listdir()) == ["dry.wav", "wet.wav"]


def _tried(kind: str, error: float, test: float) -> Tried:
    device = build("constant", rate=RATE)
    device.kind = kind
    return Tried(device=device, error=error, test=test, seconds=0)


def test_kinds_are_chosen_on_held_out_time_and_never_on_the_test() -> None:
    def choose(memory: Memory, window: float) -> Trials:
        trials = Trials(memory, _table(), (None,) * 3, 1, 0, {}, print)  # type: ignore[arg-type]  # nothing is trained
        trials.tried = [_tried("constant", 0.2, 0.0), _tried("gru", 0.1, 0.5), _tried("lstm", 0.15, 0.1)]
        trials._choose(window)
        return trials

    both = Memory(kinds=("gru", "lstm"))
    chosen = choose(both, 0.3).chosen
    assert chosen is not None
    assert chosen.kind == "gru"
    assert choose(both, 0.05).chosen is None, "the window is best"
    only = choose(Memory(kinds=("lstm",), window=False), 0.05)
    assert only.chosen is not None, "who asks for one kind gets it"
    assert only.said == ["chosen is lstm, whose error on held-out time is 15.00% of the energy"]
    assert choose(both, 0.3).said[-1].startswith("chosen is gru")
    worse = Trials(both, _table(), (None,) * 3, 1, 0, {}, print)  # type: ignore[arg-type]  # nothing is trained
    worse.tried = [_tried("constant", 0.05, 0.0), _tried("gru", 0.1, 0.5)]
    worse._choose(0.3)
    assert worse.said[-1] == "nothing that was tried beats one constant gain there, 5.00%"


def _table(n: int = 1000, rate: int | None = 10) -> Table:
    count = np.arange(n)
    return Table(
        inputs=pd.DataFrame({"input": count + 0.0}), target=-count.astype(float), key="input",
        groups=(count >= 600).astype(np.int64), file=(count >= 600).astype(np.int64), row=count % 600,
        paths=[Path("a"), Path("b")], rate=rate,
    )  # fmt: skip


def test_of_sounds_too_long_stretches_are_used_and_it_is_said() -> None:
    whole = _table()
    assert shortened(whole, 1000) is whole
    assert shortened(_table(rate=None), 300).rate is None
    read = shortened(whole, 300)
    assert len(read) == 300
    x, groups = read.inputs["input"].to_numpy(), read.groups
    assert read.target is not None
    assert np.array_equal(-x, read.target)
    same = np.diff(groups) == 0
    assert (np.diff(x)[same] == 1).all(), "within a recording nothing is skipped"
    assert (np.diff(groups) >= 0).all()
    assert np.array_equal(read.file, (x >= 600).astype(int)), "a recording is of one file"
    assert x[0] == 0
    assert x[-1] == 999
    assert read.notes == [
        "of 100 s of sound, 30 stretches of 1 s were used, spread evenly, so that memory stays bounded"
    ]
