"""Any fitted model to any form, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hardgrad_lab.export.refusal import ExportError
from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.folder import Model
from hardgrad_lab.fit.tables import INPUT
from hardgrad_lab.runs.atomic import write_atomically

Maker = Callable[[Model, Mapping[str, Any], Path], tuple[bytes, list[str]]]
ENDINGS = {"c": ".h", "json": ".json", "onnx": ".onnx", "torch": ".pt2"}


def export(model: Model, described: Mapping[str, Any], form: str, out: Path) -> list[str]:
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
    make: dict[str, Maker] = {"c": _c, "json": _json, "onnx": _onnx, "torch": _torch}
    content, said = make[form](model, described, out)
    write_atomically(out, lambda file: file.write(content) and None)
    return said


def hears(described: Mapping[str, Any]) -> bool:
    """Return whether a model was fitted to sounds."""
    return bool(described["columns"] == [INPUT])


def about(described: Mapping[str, Any]) -> list[str]:
    """Return what a model's folder says of it, as lines for a reader of the export."""
    scores = {score["name"]: score for score in described.get("scores", [])}
    lines = [
        f"{described.get('target', 'a target')}, fitted by hardgrad to {', '.join(described.get('files', ['rows']))}"
    ]
    if "rate" in described:
        lines.append(f"{described['rate']} samples a second; the output is not late: latency 0 samples")
    if "switch" in scores:
        lines.append(f"root mean square error on unseen samples {scores['switch']['rmse']:.4g}")
    return lines


def _c(model: Model, described: Mapping[str, Any], out: Path) -> tuple[bytes, list[str]]:
    from hardgrad_lab.export.c_header import header
    from hardgrad_lab.export.c_switch import switch_code
    from hardgrad_lab.export.c_text import name_of
    from hardgrad_lab.export.plan import plan_of

    if not hears(described) or not isinstance(model, SwitchRegressor):
        raise ExportError("--to c is for sounds, got a model of columns; take --to json, onnx or torch")
    plan = plan_of(model)
    name = name_of(out.stem)
    ranges = ", ".join(model.ranges_.label(i) for i in range(plan.ranges))
    lines = [*about(described), f"ranges of the newest sample: {ranges}; one network each, window {plan.window}"]
    text = header(name, switch_code(plan), lines, double=plan.double, knob=False)
    return text.encode(), [f"{name}_init(&s); {name}_process(&s, buffer, n); one {name}_state for each channel"]


def _json(model: Model, described: Mapping[str, Any], out: Path) -> tuple[bytes, list[str]]:
    from hardgrad_lab.export.as_json import text
    from hardgrad_lab.export.plan import plan_of

    plan = plan_of(model)
    said = {
        name: described[name] for name in ("rate", "columns", "key", "inputs", "target", "classes") if name in described
    }
    return text(plan, said).encode(), [f"{plan.ranges} branches, each with in_shape and layers as RTNeural reads them"]


def _torch(model: Model, described: Mapping[str, Any], out: Path) -> tuple[bytes, list[str]]:
    from hardgrad_lab.export.program import Program, torch_bytes

    program = Program(model, sounds=hears(described))
    return torch_bytes(program), [f"run = torch.export.load({out.name!r}).module(); {program.call()}"]


def _onnx(model: Model, described: Mapping[str, Any], out: Path) -> tuple[bytes, list[str]]:
    from hardgrad_lab.export.program import OPSET, Program, onnx_bytes

    program = Program(model, sounds=hears(described))
    return onnx_bytes(program), [f"opset {OPSET}; {program.call()}"]
