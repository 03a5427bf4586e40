"""A device as a model folder: its kind and how it was built in JSON, its weights in safetensors. It imports no code."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors.torch import save

from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.kinds import KINDS, build
from hardgrad_lab.runs.model_files import (
    CURE,
    DESCRIPTION,
    WEIGHTS,
    FolderError,
    check_tensors,
    read_header,
    read_weights,
)
from hardgrad_lab.runs.model_folder import read_said, write_folder

FORMAT = "hardgrad-device-1"
FASTEST = 1_000_000  # samples a second
MOST_VALUES, MOST_LETTERS, LARGEST = 256, 64, 1e9  # of what a device was built with


def describe(device: Device, notes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what ``model.json`` says of a device, without the fingerprint of its weights."""
    own = {"format": FORMAT, "kind": device.kind, "rate": device.rate, "knob": device.knob, "spec": device.spec}
    return {**own, "described": device.describe(), "notes": dict(notes or {})}


def weights_of(device: Device) -> bytes:
    """Return a device's weights as the bytes of a safetensors file."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in device.state_dict().items()})


def save_device(
    device: Device, path: Path | str, notes: Mapping[str, Any] | None = None, *, force: bool = False
) -> None:
    """Write a device as a folder, whole or not at all.

    Args:
        device: made by ``kinds.build``.
        path: the folder to make.
        notes: whatever else belongs into ``model.json``; plain values.
        force: replace a model folder that is there.
    """
    write_folder(Path(path), describe(device, notes), weights_of(device), {}, force=force)


def load_device(path: Path | str) -> Device:
    """Read a device's folder.

    Raises:
        FolderError: if the folder is not whole, of another format, or says what no device is built with.
    """
    said = read_said(Path(path), (FORMAT,))
    check(Path(path) / DESCRIPTION, said)
    return device_from(Path(path), said)


def device_from(path: Path, said: Mapping[str, Any]) -> Device:
    """Return the device that a folder and its checked description hold."""
    try:
        device = build(said["kind"], rate=said["rate"], knob=said["knob"], **said["spec"])
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        line = " ".join(str(error).split())
        raise FolderError(f"{path / DESCRIPTION} describes no {said['kind']} ({line}); {CURE}") from None
    check_tensors(path / WEIGHTS, read_header(path / WEIGHTS), device.state_dict())
    device.load_state_dict(read_weights(path / WEIGHTS, said))
    return device.eval()


def check(path: Path, said: Mapping[str, Any]) -> None:
    """Refuse a description that no device has.

    Raises:
        FolderError: with the place, the rule and the value.
    """
    kind, rate, knob, spec = (said.get(name) for name in ("kind", "rate", "knob", "spec"))
    rising = knob is None or (_is_list(knob) and all(map(_is_number, knob)) and all(a < b for a, b in pairwise(knob)))
    plain = isinstance(spec, dict) and all(
        isinstance(name, str) and name not in ("kind", "rate", "knob") and _is_plain(value)
        for name, value in spec.items()
    )
    for place, holds, rule, got in (
        ("kind", isinstance(kind, str) and kind in KINDS, f"one of {', '.join(KINDS)}", kind),
        (
            "rate",
            isinstance(rate, int) and not isinstance(rate, bool) and 0 < rate <= FASTEST,
            "samples a second",
            rate,
        ),
        ("knob", rising, "null, or numbers that rise", knob),
        ("spec", plain, "names with plain values", spec),
    ):
        if not holds:
            raise FolderError(f"{path}: {place} must be {rule}, got {repr(got)[:80]}; {CURE}")


def _is_plain(value: Any) -> bool:
    if value is None or isinstance(value, bool) or _is_number(value):
        return True
    if isinstance(value, str):
        return len(value) <= MOST_LETTERS
    return _is_list(value) and all(map(_is_plain, value))


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MOST_VALUES


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
