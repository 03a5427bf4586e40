"""JSON as RTNeural reads it, by a reader of its own in NumPy; ONNX and torch programs in blocks; what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from hardgrad_lab import SwitchClassifier, SwitchRegressor
from hardgrad_lab.devices.folder import save_device
from hardgrad_lab.fit.folder import save_model
from hardgrad_lab.fit.tables import INPUT
from lab.test_export_c import BRANCHES, NOTES, fitted, plucked, run
from lab.test_export_devices import KNOB, device, exported, of_model

Array = NDArray[np.float64]


def network(said: Mapping[str, Any], steps: Array) -> Array:
    """What RTNeural makes of steps (T, columns), its state cleared before the first: its last output."""
    for layer in said["layers"]:
        w = [np.array(each) for each in layer["weights"]]
        wide, made = layer["shape"][-1], []
        h, c = np.zeros(wide), np.zeros(wide)
        for t in range(len(steps)):
            if layer["type"] == "dense":
                y = steps[t] @ w[0] + w[1]
            elif layer["type"] == "conv1d":
                (size,), (gap,) = layer["kernel_size"], layer["dilation"]
                taps = [(k, t - (size - 1 - k) * gap) for k in range(size)]
                y = w[1] + sum(steps[at] @ w[0][k] for k, at in taps if at >= 0)
            elif layer["type"] == "lstm":
                i, f, g, o = np.split(steps[t] @ w[0] + h @ w[1] + w[2], 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                y = h = sigmoid(o) * np.tanh(c)
            else:
                (z, r, n), (uz, ur, un) = np.split(steps[t] @ w[0] + w[2][0], 3), np.split(h @ w[1] + w[2][1], 3)
                z, r = sigmoid(z + uz), sigmoid(r + ur)
                y = h = z * h + (1 - z) * np.tanh(n + r * un)
            made.append(np.maximum(y, 0) if layer["activation"] == "relu" else y)
        steps = np.stack(made)
    return steps[-1]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def read(said: Mapping[str, Any], x: Array) -> Array:
    """Predictions of a model of sounds in JSON, sample by sample."""
    window, made = said["window"], []
    held = np.concatenate([np.full(window - 1, x[0]), x])
    for t in range(len(x)):
        r = int(np.searchsorted(said["edges"][1:-1], x[t], side="right"))
        seen = (held[t : t + window] - said["input"][r]["shift"]) / said["input"][r]["scale"]
        flat = said["branches"][r]["in_shape"][-1] == window > 1 or window == 1
        y = network(said["branches"][r], seen[None] if flat else seen[:, None])
        made.append((y * said["output"]["scale"] + said["output"]["shift"]).item())
    return np.array(made)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["curve", "line", "gru", "lstm", "conv"])
def test_json_is_the_model_to_a_reader_of_its_own(name: str, tmp_path: Path) -> None:
    x = plucked()[40:140].astype(np.float64)
    model = fitted(**BRANCHES[name])
    save_model(model, tmp_path / "model", NOTES)
    assert run("export", tmp_path / "model", "--to", "json", "--out", tmp_path / "m.json") == 0
    said = json.loads((tmp_path / "m.json").read_text())
    assert np.abs(read(said, x) - model.predict(pd.DataFrame({INPUT: x}))).max() < 1e-6


def test_json_of_a_recurrent_device_with_a_knob(tmp_path: Path) -> None:
    x = plucked()[40:100].astype(np.float64)
    said = json.loads(exported(device("gru", KNOB), "json", tmp_path, "m").read_text())
    assert said["knob"] == KNOB
    scale, out, branch = said["input"][2]["scale"][0], said["output"][2], said["branches"][2]
    y = [out["gain"] * x[t] + out["scale"] * network(branch, x[: t + 1, None] / scale)[0] for t in range(len(x))]
    assert np.abs(np.array(y) - of_model(device("gru", KNOB), x, 1.0)).max() < 1e-6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_programs_take_blocks_with_their_past(form: str, tmp_path: Path) -> None:
    x = np.stack([plucked(900), plucked(900)[::-1]])
    model = fitted(branch="linear", window=8)
    save_model(model, tmp_path / "model", NOTES)
    path = tmp_path / f"m.{form}"
    assert run("export", tmp_path / "model", "--to", form, "--out", path) == 0
    made, past = [], np.repeat(x[:, :1], 7, axis=1)
    program = called(path, form)
    for block in np.split(x, (1, 300), axis=1):
        y, past = program(block, past)
        made.append(y)
    for channel, own in zip(x, np.concatenate(made, axis=1), strict=True):
        expected = model.predict(pd.DataFrame({INPUT: channel.astype(np.float64)}))
        assert np.abs(own - expected).max() < 1e-6


def called(path: Path, form: str) -> Any:
    if form == "onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))
    module = torch.export.load(path).module()
    return lambda *inputs: [each.numpy() for each in module(*map(torch.tensor, inputs))]


@pytest.mark.filterwarnings("ignore")
def test_columns_as_a_torch_program_and_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"price": random.uniform(0, 1e9, 300), "day": random.normal(size=300)})
    model = SwitchClassifier([0, 5e8, 1e9], branch="linear", epochs=1, random_state=0)
    model.fit(rows, np.where(rows.day > 0, "up", "down"))
    save_model(model, tmp_path / "model")
    assert run("export", tmp_path / "model", "--to", "torch", "--out", tmp_path / "m.pt2") == 0
    shares = torch.export.load(tmp_path / "m.pt2").module()(torch.from_numpy(rows.to_numpy())).numpy()
    assert np.abs(shares - model.predict_proba(rows)).max() < 1e-6
    exported(device("constant"), "c", tmp_path, "gain")
    save_device(device("gru"), tmp_path / "gru_model")
    for words, sentence in (
        (("model", "--to", "c"), "--to c is for sounds"),
        (("gain_model", "--to", "json"), "--to json holds networks"),
        (("gain_model", "--to", "onnx"), "got a device of kind 'constant'; take --to c"),
        (("gru_model", "--to", "torch"), "got a device of kind 'gru'; take --to c or --to json"),
        (("gain_model", "--to", "c", "--out", "gain.h"), "is there already"),
    ):
        capsys.readouterr()
        before = sorted(tmp_path.iterdir())
        folder, *others = [
            tmp_path / word if word in ("model", "gain_model", "gru_model", "gain.h") else word for word in words
        ]
        others = others if "--out" in others else [*others, "--out", tmp_path / "none"]
        assert run("export", folder, *others) == 1
        assert sentence in " ".join(capsys.readouterr().err.split())
        assert sorted(tmp_path.iterdir()) == before


def test_regressors_of_columns_in_json(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    model = SwitchRegressor([-1, 0, 1], branch="linear", key=1).fit(x, np.stack([x[:, 0], x @ [2, 3]], axis=1))
    save_model(model, tmp_path / "model")
    assert run("export", tmp_path / "model", "--to", "json", "--out", tmp_path / "m.json") == 0
    said = json.loads((tmp_path / "m.json").read_text())
    row, r = np.array([0.3, -0.4]), 0
    seen = (row - said["input"][r]["shift"]) / said["input"][r]["scale"]
    y = network(said["branches"][r], seen[None]) * said["output"]["scale"] + said["output"]["shift"]
    assert np.abs(y - model.predict(row[None])[0]).max() < 1e-6
