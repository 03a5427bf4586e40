"""Devices as C, JSON, ONNX and torch programs: equal to the model within 1e-6, with its state and its knob."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import torch

from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.dynamics import CompressorDevice
from hardgrad_lab.devices.folder import save_device
from hardgrad_lab.devices.gate import GateDevice
from hardgrad_lab.devices.kinds import KINDS, build
from hardgrad_lab.devices.recurrent import Recurrent
from lab.compiled import compiled, played
from lab.test_export_c import CHUNKS, plucked, run

RATE, KNOB = 44_100, [0.0, 0.25, 1.0]


def device(kind: str, knob: list[float] | None = None, **spec: str) -> Device:
    """A device with weights at random, which differ from knob to knob."""
    torch.manual_seed(0)
    made = build(kind, rate=RATE, knob=knob, **spec)
    if isinstance(made, GateDevice):  # so that the sound opens it, and it closes on the way down
        for name, value in {"open_db": -8.0, "close_db": -14.0, "hold_ms": 1.0, "release_ms": 5.0}.items():
            setattr(made.layer, name, torch.full_like(getattr(made.layer, name).detach(), value))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if kind == "table":
                parameter.copy_(torch.rand_like(parameter).sort(dim=1)[0] * 2 - 1)
            elif name != "reads":
                parameter.add_(0.2 * torch.randn_like(parameter))
        for buffer in (made.scales,) if isinstance(made, Recurrent) else ():  # levels of what it was trained on
            buffer.mul_(torch.rand_like(buffer) + 0.5)
        if isinstance(made, CompressorDevice):
            made.polarity[-1] = -1
    return made.eval()


def of_model(made: Device, x: np.ndarray, knob: float | None = None) -> np.ndarray:
    """What the model makes of a sound in double precision, in which its own rounding is out of the way."""
    with torch.no_grad():
        stands = None if knob is None else torch.tensor([knob])
        fine = made.kind != "envelope"  # whose level is compared in the precision of the sound
        made, sound = (made.double(), torch.from_numpy(x).double()) if fine else (made, torch.from_numpy(x))
        return made(sound[None], None, stands)[0][0].numpy()


def exported(made: Device, form: str, folder: Path, name: str) -> Path:
    path = folder / f"{name}{ {'c': '.h', 'json': '.json', 'onnx': '.onnx', 'torch': '.pt2'}[form] }"
    save_device(made, folder / f"{name}_model", {"files": ["dry.wav"], "target": "wet"}, force=True)
    assert run("export", folder / f"{name}_model", "--to", form, "--out", path) == 0
    return path


def test_every_kind_in_c_equals_the_model_chunk_by_chunk(tmp_path: Path) -> None:
    x = plucked()
    cases = {f"{kind}{'_knob' if knob else ''}": device(kind, knob) for kind in KINDS for knob in (None, KNOB)}
    cases["rms"] = device("compressor", detector="rms")
    headers = [exported(made, "c", tmp_path, name) for name, made in cases.items()]
    library = compiled(headers, [name for name in cases if "knob" in name])
    library_turn = {name: library[f"turn_{name}"] for name in cases if "knob" in name}
    for name, made in cases.items():
        library[f"start_{name}"]()
        # 0.7 is nearer to 1 than to 0.25, so it takes the last set of parameters.
        for knob in (None,) if made.knob is None else (0.0, 0.7):
            if knob is not None:
                library_turn[name](ctypes.c_float(knob))
            library[f"again_{name}"]()
            y = played(library, name, x, CHUNKS)
            assert np.abs(y - of_model(made, x, knob)).max() < 1e-6, (name, knob)
