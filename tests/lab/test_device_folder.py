"""The folder of a device: what comes back, and what is refused before anything is built of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hardgrad_lab.devices.folder import load_device, save_device
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.fit.folder import load_any, load_model
from hardgrad_lab.runs.model_files import FolderError


def saved(folder: Path) -> Path:
    torch.manual_seed(0)
    device = build("lstm", rate=8000, knob=[0.0, 1.0], hidden=2)
    save_device(device, folder / "device", {"rate": 1, "latency": [3]})
    return folder / "device"


def spoil(path: Path, **changes: Any) -> None:
    said = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps(said | changes))


def test_a_device_comes_back_with_its_notes(tmp_path: Path) -> None:
    path = saved(tmp_path)
    device = load_device(path)
    torch.manual_seed(0)
    fresh = build("lstm", rate=8000, knob=[0.0, 1.0], hidden=2)
    x, knob = torch.randn(2, 50), torch.tensor([0.2, 0.8])
    assert torch.equal(device(x, None, knob)[0], fresh(x, None, knob)[0])
    assert (device.kind, device.rate, device.knob) == ("lstm", 8000, [0.0, 1.0])
    said = json.loads((path / "model.json").read_text())
    assert said["notes"] == {"rate": 1, "latency": [3]}
    assert said["described"] == "LSTM of 2 units for each of 2 values of the knob"
    assert type(load_any(path)) is type(device)
    with pytest.raises(FolderError, match="must hold an estimator here, got a device of the kind 'lstm'"):
        load_model(path)
    with pytest.raises(FolderError, match="holds a model already"):
        save_device(device, path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "os:system"}, "kind must be one of constant, "),
        ({"kind": ["lstm"]}, "kind must be one of constant, "),
        ({"rate": 8000.5}, "rate must be samples a second, got 8000.5"),
        ({"rate": True}, "rate must be samples a second, got True"),
        ({"knob": [1.0, 0.0]}, "knob must be null, or numbers that rise"),
        ({"knob": [0.0, 0.5, 1.0]}, "does not fit model.json"),
        ({"spec": {"cell": {"a": 1}}}, "spec must be names with plain values"),
        ({"spec": {"rate": 1}}, "spec must be names with plain values"),
        ({"spec": {"cell": "lstm", "hidden": 10**8}}, "hidden must be from 1 to 256 units"),
        ({"spec": {"cell": "lstm", "hidden": 3}}, "does not fit model.json"),
        ({"spec": {"cell": "lstm", "wide": 3}}, "describes no lstm"),
        ({"format": "hardgrad-device-2"}, "must have the format 'hardgrad-device-1'"),
    ],
)
def test_a_folder_that_was_changed_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = saved(tmp_path)
    spoil(path, **changes)
    with pytest.raises(FolderError, match=said):
        load_device(path)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = bytearray((path / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "weights.safetensors").write_bytes(bytes(content))
    with pytest.raises(FolderError, match=r"is not the file that model\.json was written with"):
        load_device(path)
    (path / "weights.safetensors").write_bytes(bytes(content[:50]))
    with pytest.raises(FolderError, match="cut short or damaged"):
        load_device(path)
