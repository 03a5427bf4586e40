"""Any fitted model to any form, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.plan import ExportError
from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.folder import Model
from hardgrad_lab.fit.sounds.knob import knob_of
from hardgrad_lab.fit.tables import INPUT
from hardgrad_lab.runs.atomic import write_atomically

Said = Mapping[str, Any]
Made = tuple[bytes, list[str]]
ENDINGS = {"c": ".h", "json": ".json", "onnx": ".onnx", "torch": ".pt2"}


def export(model: Model | Device, described: Said, form: str, out: Path) -> list[str]:
    """Write a model in a form of ``ENDINGS``.

    Args:
        model: fitted.
        described: what its folder says of it.
        form: "c", "json", "onnx" or "torch".
        out: the file; an old one is replaced.

    Returns:
        Lines on how to call what was written.

    Raises:
        ExportError: for a model without such a form; nothing is written then.
    """
    make: dict[str, Callable[[Any, Said, Path, str], Made]] = {"c": _c, "json": _json}
    content, said = make.get(form, _program)(model, {**described.get("notes", {}), **described}, out, form)
    write_atomically(out, partial(_write, content))
    return said


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def hears(described: Said) -> bool:
    """Return whether a model was fitted to sounds."""
    knob = knob_of(described)
    return "columns" not in described or described["columns"] == [INPUT, *([knob.name] if knob else [])]


def about(described: Said) -> list[str]:
    """Return what a model's folder says of it, as lines for a reader of the export."""
    files = ", ".join(dict.fromkeys(described.get("files", ["recordings"])))
    lines = [f"{described.get('target', 'a device')}, fitted by hardgrad to {files}"]
    if described.get("rate"):
        lines.append(f"{described['rate']} samples a second; latency 0 samples: the output begins with the input")
    if (knob := knob_of(described)) is not None:
        lines.append(
            f"the knob {knob.name} stood at {', '.join(f'{each:g}' for each in knob.values)}: the nearest counts"
        )
    score: Said = next(iter(described.get("scores", [])), {})
    lines += [f"{name} {score[name]:.4g} on unseen samples" for name in ("esr", "rmse") if name in score]
    return lines


def _c(model: Model | Device, described: Said, out: Path, form: str) -> Made:
    from hardgrad_lab.export.c_devices import device_code
    from hardgrad_lab.export.c_switch import switch_code
    from hardgrad_lab.export.c_text import header, name_of
    from hardgrad_lab.export.plan import plan_of

    name = name_of(out.stem)
    said = [f"{name}_init(&s); {name}_process(&s, buffer, n); one {name}_state for each channel"]
    if isinstance(model, Device):
        lines = [
            *about(described),
            model.describe(),
            f"a sample that is no number may stay in the state until {name}_reset",
        ]
        return header(name, device_code(model), lines, double=True).encode(), said
    if not hears(described) or not isinstance(model, SwitchRegressor):
        raise ExportError("--to c is for sounds, got a model of columns; take --to json, onnx or torch")
    plan = plan_of(model)
    key = "the knob" if plan.by_knob else "the newest sample"
    labels = ", ".join(model.ranges_.label(i) for i in range(len(model.ranges_)))
    lines = [*about(described), f"a network for each range of {key}: {labels}; a window of {plan.window} samples"]
    return header(name, switch_code(plan), lines, double=plan.double).encode(), said


def _json(model: Model | Device, described: Said, out: Path, form: str) -> Made:
    from hardgrad_lab.export import as_json
    from hardgrad_lab.export.plan import plan_of

    names = ("rate", "columns", "key", "inputs", "target", "classes", "knob")
    said = {name: described[name] for name in names if name in described}
    if (knob := knob_of(described)) is not None:
        said["knob_name"] = knob.name
    text = as_json.device_text(model, said) if isinstance(model, Device) else as_json.text(plan_of(model), said)
    return text.encode(), ["each of branches has in_shape and layers as RTNeural reads them"]


def _program(model: Model | Device, described: Said, out: Path, form: str) -> Made:
    from hardgrad_lab.export.program import OPSET, Program, onnx_bytes, torch_bytes

    if isinstance(model, Device):
        cure = "--to c or --to json" if model.kind in ("gru", "lstm") else "--to c"
        raise ExportError(f"--to {form} writes models of a window, got a device of kind {model.kind!r}; take {cure}")
    program = Program(model, sounds=hears(described))
    if form == "onnx":
        return onnx_bytes(program), [f"opset {OPSET}; {program.call()}"]
    return torch_bytes(program), [f"run = torch.export.load({out.name!r}).module(); {program.call()}"]
