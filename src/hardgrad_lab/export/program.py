"""A fitted model as one torch module whose state goes in and out, and its files: a torch program, or ONNX."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from hardgrad_lab.devices.by_knob import place
from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.plan import ExportError, wants_double
from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.folder import Model

OPSET = 18
ANY = torch.export.Dim.DYNAMIC


class Program(nn.Module):
    """``y, *state = run(x, *state)``, and the knob last where there is one; sounds are x (channels, samples).

    A subclass sets these.

    Attributes:
        inputs: an input of each shape by name: x, the state at the beginning, the knob.
        free: the dimensions of x that may be of any size.
        knob: whether there is one.
        begins: how the state does.
        cells: whether loops along time of any length are in it, which torch.export would write out step by step.
    """

    inputs: dict[str, Tensor]
    free: tuple[int, ...] = (0, 1)
    knob = False
    cells = False
    begins = "at 0"

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, ...]:
        state = rest[:-1] if self.knob else rest
        y, *after = self.run(x, state, rest[-1] if self.knob else None)
        return (y, *after) if state else y

    def run(self, x: Tensor, state: tuple[Tensor, ...], knob: Tensor | None) -> list[Tensor]:
        """Return y and the state after it."""
        raise NotImplementedError

    def states(self) -> list[str]:
        """Return the names of what is handed on."""
        return [name for name in self.inputs if name not in ("x", "knob")]

    def call(self) -> str:
        """Return how it is called, in a line."""
        shapes = ", ".join(f"{name} {tuple(each.shape)[1:]}" for name, each in self.inputs.items() if name != "x")
        words = f"{', '.join(['y', *self.states()])} = run({', '.join(self.inputs)}), x "
        words += "(channels, samples) in float32" if self.free == (0, 1) else "(rows, columns) in float64"
        return words + (f"; for each channel {shapes}; it begins {self.begins}" if shapes else "")


class WindowProgram(Program):
    """A switch with its scalings; the rows of the window before x are the state, and at first the first row each.

    Columns of a table are x (rows, columns) in double precision, in which their key is compared.
    """

    begins = "as the first row again and again"
    mean: Tensor
    scale: Tensor
    out_mean: Tensor
    out_scale: Tensor

    def __init__(self, model: Model, *, sounds: bool) -> None:
        super().__init__()
        made = model.architecture_
        fine = wants_double(model) and made.branch != "conv"  # of which onnxruntime has none in double precision
        self.made, self.sounds, self.classes = made, sounds, not isinstance(model, SwitchRegressor)
        self.key, self.columns = model.key_, model.inputs_.tolist()
        self.dtype = torch.float64 if fine else torch.float32
        self.network = copy.deepcopy(model.network_).to(self.dtype)
        target = model.target_scaling_ if isinstance(model, SwitchRegressor) else model.scaling_
        parts = (model.scaling_.mean, model.scaling_.scale, target.mean, target.scale)
        for name, part in zip(("mean", "scale", "out_mean", "out_scale"), parts, strict=True):
            self.register_buffer(name, torch.from_numpy(part))
        self.knob, before = sounds and self.key not in self.columns, made.window - 1
        self.free = (0, 1) if sounds else (0,)
        width = 37 if sounds else model.n_features_in_
        blank = torch.zeros(37, width, dtype=torch.float32 if sounds else torch.float64)
        past = blank[:2, :1].expand(2, before) if sounds else blank[:1].expand(before, width)
        self.inputs = {"x": blank[:2] if sounds else blank, **({"past": past.clone()} if before else {})}
        if self.knob:
            self.inputs["knob"] = torch.zeros(2)

    def run(self, x: Tensor, state: tuple[Tensor, ...], knob: Tensor | None) -> list[Tensor]:
        time = 1 if self.sounds else 0
        frames = torch.cat([*state, x], dim=time)
        rows = (frames.unsqueeze(2) if self.sounds else frames.unsqueeze(0)).double()
        count, window = x.shape[time], self.made.window
        at = torch.arange(count).unsqueeze(1) + torch.arange(window)
        columns = [0] if self.sounds else self.columns
        seen = ((rows[..., columns] - self.mean) / self.scale)[:, at].flatten(2).flatten(0, 1)
        if knob is None:
            key = rows[:, window - 1 :, self.key].flatten()
        else:
            key = knob.unsqueeze(1).expand(x.shape).flatten().double()
        if self.made.raw is not None:
            seen = seen.index_copy(1, torch.tensor([self.made.raw]), key.unsqueeze(1))
        y = self.network(seen.to(self.dtype), key).double()
        y = y.softmax(1) if self.classes else y * self.out_scale + self.out_mean
        y = y.unflatten(0, (rows.shape[0], count))
        y = y[..., 0].to(x.dtype) if self.sounds else y[0]
        return [y, frames[:, count:] if self.sounds else frames[count:]] if state else [y]


class DeviceProgram(Program):
    """A device; recurrent ones run the cells of all places of the knob and take one, as a graph can choose none."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = copy.deepcopy(device).eval()
        self.cells, self.knob = device.kind in ("gru", "lstm"), device.knob is not None
        knob = torch.full((2,), device.knob[0]) if device.knob else None
        with torch.no_grad():
            _, state = self.device(torch.zeros(2, 37), None, knob)
        found, self.shape = tree_flatten(() if state is None else state)
        self.inputs = {"x": torch.zeros(2, 37)} | {f"state{i}": torch.zeros_like(part) for i, part in enumerate(found)}
        if knob is not None:
            self.inputs["knob"] = knob

    def run(self, x: Tensor, state: tuple[Tensor, ...], knob: Tensor | None) -> list[Tensor]:
        device: Any = self.device
        before = tree_unflatten(list(state), self.shape) if state else None
        if not self.cells:
            y, after = device(x, before, knob)
            return [y, *tree_flatten(after)[0]] if state else [y]
        index = place(device.kind, device.knob, knob, x)
        ran = [device._run(i, x, before, slice(None)) for i in range(len(device.cells))]
        return [torch.stack(parts)[index, torch.arange(x.shape[0])] for parts in zip(*ran, strict=True)]


def program_of(model: Model | Device, *, sounds: bool) -> Program:
    """Return a fitted model as one torch module."""
    if isinstance(model, Device) and model.kind in ("compressor", "gate", "envelope"):
        raise ExportError(
            f"a device of kind {model.kind!r} loops along time, where torch.export keeps hardgrad's own operator and "
            "ONNX has none; take --to c"
        )
    made = DeviceProgram(model) if isinstance(model, Device) else WindowProgram(model, sounds=sounds)
    return made.eval().requires_grad_(False)


def torch_bytes(program: Program) -> bytes:
    """Return a program for ``torch.export.load``; for ``torch.jit.load`` where there are cells."""
    buffer, example = io.BytesIO(), tuple(program.inputs.values())
    if program.cells:
        torch.jit.save(_quietly(lambda: torch.jit.trace(program, example)), buffer)
    else:
        torch.export.save(
            _quietly(lambda: torch.export.export(program, example, dynamic_shapes=_free(program))), buffer
        )
    return buffer.getvalue()


def onnx_bytes(program: Program) -> bytes:
    """Return a graph of ONNX, as torch's own exporters make it."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ExportError("--to onnx needs two packages more; install them: pip install 'hardgrad[onnx]'") from None
    buffer, after = io.BytesIO(), ["y", *(f"{name}_out" for name in program.states())]
    how: dict[str, Any] = {"dynamo": True, "dynamic_shapes": _free(program)}
    if program.cells:
        axes = {name: {0: "channels"} for name in (*program.inputs, *after)}
        how = {"dynamo": False, "dynamic_axes": axes | {name: {0: "channels", 1: "samples"} for name in ("x", "y")}}
    names: dict[str, Any] = {
        "input_names": list(program.inputs),
        "output_names": after,
        "opset_version": OPSET,
        "verbose": False,
    }
    example = tuple(program.inputs.values())
    where: Any = buffer if program.cells else None
    made = _quietly(lambda: torch.onnx.export(program, example, where, **names, **how))
    if made is not None:
        made.save(buffer)
    return buffer.getvalue()


def _free(program: Program) -> tuple[Any, ...]:
    rest = tuple({0: ANY} if 1 in program.free else {} for _ in range(len(program.inputs) - 1))
    return (dict.fromkeys(program.free, ANY), rest) if rest else (dict.fromkeys(program.free, ANY),)


def _quietly(export: Callable[[], Any]) -> Any:
    """Return what an exporter makes, or raise its complaint as one sentence; what it warns of is torch's business."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return export()
    except Exception as error:  # of the user's own branch, or of any part of two compilers
        why = str(error).strip().split("\n")[0]
        raise ExportError(
            f"torch cannot write this model down ({type(error).__name__}: {why[:200]}); take --to c, or --to json for "
            "networks that go by name"
        ) from error
    finally:
        logger.setLevel(level)
