"""The kinds of devices by name; each is loaded when it is asked for."""

from __future__ import annotations

from typing import Any

from hardgrad_lab.devices.device import Device
from hardgrad_lab.runs.named import load

KINDS: dict[str, str] = {
    "constant": "hardgrad_lab.devices.simple:Constant",
    "filter": "hardgrad_lab.devices.simple:Filter",
    "table": "hardgrad_lab.devices.simple:Table",
    "compressor": "hardgrad_lab.devices.dynamics:CompressorDevice",
    "gate": "hardgrad_lab.devices.gate:GateDevice",
    "envelope": "hardgrad_lab.devices.envelope:Envelope",
    "gru": "hardgrad_lab.devices.recurrent:Recurrent",
    "lstm": "hardgrad_lab.devices.recurrent:Recurrent",
}


def build(kind: str, *, rate: int, knob: list[float] | None = None, **spec: Any) -> Device:
    """Return a device of a kind, its weights drawn from torch's global seed.

    Raises:
        ValueError: for a kind that there is not.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind in ("gru", "lstm"):
        spec = {"cell": kind, **spec}
    made = load(KINDS[kind])(rate=rate, knob=knob, **spec)
    assert isinstance(made, Device)
    made.kind = kind
    return made
