"""A fitted switch as one torch module, scalings included, and its files: a torch program, or ONNX."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from hardgrad_lab.devices.by_knob import place
from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.plan import wants_double
from hardgrad_lab.export.refusal import ExportError
from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.folder import Model

OPSET = 18
Made = TypeVar("Made")


class Program(nn.Module):
    """Rows in, predictions out; with a window, the rows before them in and out, too.

    Sounds are x (channels, samples) and past (channels, window - 1), both single precision; columns are x (rows,
    columns) and past (window - 1, columns) in double precision, in which their key is compared.

    Args:
        model: fitted.
        sounds: whether to sounds.
    """

    cells = False  # those along a window are of a fixed length
    mean: Tensor
    scale: Tensor
    out_mean: Tensor
    out_scale: Tensor

    def __init__(self, model: Model, *, sounds: bool) -> None:
        super().__init__()
        made = model.architecture_
        self.made, self.sounds, self.key, self.inputs = made, sounds, model.key_, model.inputs_.tolist()
        fine = wants_double(model) and made.branch != "conv"  # of which onnxruntime has none in double precision
        self.dtype = torch.float64 if fine else torch.float32
        self.network = copy.deepcopy(model.network_).to(self.dtype)
        self.classes = not isinstance(model, SwitchRegressor)
        scaling = model.scaling_ if self.classes else model.target_scaling_
        for name, each in (("mean", model.scaling_.mean), ("scale", model.scaling_.scale)):
            self.register_buffer(name, torch.from_numpy(each))
        for name, each in (("out_mean", scaling.mean), ("out_scale", scaling.scale)):
            self.register_buffer(name, torch.from_numpy(each))

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes: silence, or zeros."""
        before = self.made.window - 1
        if self.sounds:
            x, past = torch.zeros(2, 37), torch.zeros(2, before)
        else:
            columns = max(self.key, *self.inputs) + 1
            x, past = (torch.zeros(n, columns, dtype=torch.float64) for n in (37, before))
        return (x, past) if before else (x,)

    def free(self) -> tuple[Any, ...]:
        """Return which dimensions may be of any size: channels and samples, or rows."""
        any_size = torch.export.Dim.DYNAMIC
        shapes: tuple[Any, ...] = ({0: any_size, 1: any_size}, {0: any_size}) if self.sounds else ({0: any_size}, {})
        return shapes[: len(self.example())]

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of what goes in and comes out."""
        return ["x", "past"][: len(self.example())], ["y", "past_out"][: len(self.example())]

    def call(self) -> str:
        """Return how it is called, in a line."""
        before = self.made.window - 1
        shapes = (
            ("(channels, samples)", f"(channels, {before})")
            if self.sounds
            else ("(rows, columns)", f"({before}, columns)")
        )
        if not before:
            return f"y = run(x), x {shapes[0]}"
        return f"y, past = run(x, past), x {shapes[0]}, past {shapes[1]}, at first the first one of x again and again"

    def forward(self, x: Tensor, past: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        frames = x if past is None else torch.cat([past, x], dim=1 if self.sounds else 0)
        rows = frames.unsqueeze(2) if self.sounds else frames.unsqueeze(0)
        y = self._predicted(rows.double(), x.shape[1 if self.sounds else 0])
        y = y[..., 0].to(x.dtype) if self.sounds else y[0]
        if past is None:
            return y
        return y, frames[:, x.shape[1] :] if self.sounds else frames[x.shape[0] :]

    def _predicted(self, rows: Tensor, count: int) -> Tensor:
        """Return predictions (C, count, targets) of rows (C, window - 1 + count, columns)."""
        window = self.made.window
        scaled = (rows[..., self.inputs] - self.mean) / self.scale
        at = torch.arange(count).unsqueeze(1) + torch.arange(window)
        x = scaled[:, at].flatten(2).flatten(0, 1)
        key = rows[:, window - 1 :, self.key].flatten()
        if self.made.raw is not None:
            x = x.index_copy(1, torch.tensor([self.made.raw]), key.unsqueeze(1))
        y = self.network(x.to(self.dtype), key).double()
        y = y.softmax(1) if self.classes else y * self.out_scale + self.out_mean
        return y.unflatten(0, (rows.shape[0], count))


class DeviceProgram(nn.Module):
    """A device with its state as tensors in and out: y, *state = run(x, *state), and the knob last where there is one.

    Args:
        device: of any kind.
    """

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.cells = device.kind in ("gru", "lstm")
        self.device = copy.deepcopy(device).eval()
        knob = None if device.knob is None else torch.full((2,), device.knob[0])
        with torch.no_grad():
            _, state = self.device(torch.zeros(2, 37), None, knob)
        found, self.shape = tree_flatten(() if state is None else state)
        self.parts = [torch.zeros_like(part) for part in found]

    def example(self) -> tuple[Tensor, ...]:
        """Return silence, the state at the beginning, and a place of the knob."""
        knob = [] if self.device.knob is None else [torch.full((2,), self.device.knob[0])]
        return torch.zeros(2, 37), *self.parts, *knob

    def free(self) -> tuple[Any, ...]:
        """Return which dimensions may be of any size: channels and samples."""
        any_size = torch.export.Dim.DYNAMIC
        rest = ({0: any_size},) * (len(self.example()) - 1)
        return ({0: any_size, 1: any_size}, rest) if rest else ({0: any_size, 1: any_size},)

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of what goes in and comes out."""
        states = [f"state{i}" for i in range(len(self.parts))]
        knob = [] if self.device.knob is None else ["knob"]
        return ["x", *states, *knob], ["y", *(f"{name}_out" for name in states)]

    def call(self) -> str:
        """Return how it is called, in a line."""
        state = ", ".join(f"(channels, {', '.join(map(str, part.shape[1:]))})" for part in self.parts)
        knob = "" if self.device.knob is None else ", knob (channels,)"
        return f"y, *state = run(x, *state{knob and ', knob'}), x (channels, samples), state {state}, at first 0{knob}"

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        knob = None if self.device.knob is None else rest[-1]
        state = tree_unflatten(list(rest[: len(self.parts)]), self.shape) if self.parts else None
        y, state = self._ran(x, state, knob)
        return (y, *tree_flatten(state)[0]) if self.parts else (y,)

    def _ran(self, x: Tensor, state: Any, knob: Tensor | None) -> tuple[Tensor, Any]:
        """Return what the device does, without a look at a value, which a graph cannot read back: cells run all."""
        device: Any = self.device
        if not self.cells:
            return self.device(x, state, knob)
        index = place(device.kind, device.knob, knob, x)
        ran = [device._run(i, x, state, slice(None)) for i in range(len(device.cells))]
        y, *after = (torch.stack(parts)[index, torch.arange(x.shape[0])] for parts in zip(*ran, strict=True))
        return y, tuple(after)


def program_of(model: Model | Device, *, sounds: bool) -> Program | DeviceProgram:
    """Return a fitted model as one torch module."""
    return (
        (DeviceProgram(model) if isinstance(model, Device) else Program(model, sounds=sounds))
        .eval()
        .requires_grad_(False)
    )


def torch_bytes(program: Program | DeviceProgram) -> bytes:
    """Return a program for ``torch.export.load``."""
    buffer = io.BytesIO()
    if program.cells:
        torch.jit.save(_quietly(lambda: torch.jit.trace(program, program.example())), buffer)
    else:
        exported = _quietly(lambda: torch.export.export(program, program.example(), dynamic_shapes=program.free()))
        torch.export.save(exported, buffer)
    return buffer.getvalue()


def onnx_bytes(program: Program | DeviceProgram) -> bytes:
    """Return a graph of ONNX, as torch's own exporter makes it."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ExportError("--to onnx needs two packages more; install them: pip install 'hardgrad[onnx]'") from None
    buffer = io.BytesIO()
    if program.cells:
        ins, outs = program.names()
        axes = {name: {0: "channels"} for name in (*ins, *outs)} | {
            n: {0: "channels", 1: "samples"} for n in ("x", "y")
        }
        _quietly(
            lambda: torch.onnx.export(
                program,
                program.example(),
                buffer,
                input_names=ins,
                output_names=outs,
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        )
        return buffer.getvalue()
    made = _quietly(
        lambda: torch.onnx.export(
            program,
            program.example(),
            input_names=program.names()[0],
            output_names=program.names()[1],
            dynamic_shapes=program.free(),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    )
    assert made is not None
    made.save(buffer)
    return buffer.getvalue()


def _quietly(export: Callable[[], Made]) -> Made:
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
            f"torch cannot write this model down ({type(error).__name__}: {why[:200]}); take --to c or --to json where "
            "its branches go by name"
        ) from error
    finally:
        logger.setLevel(level)
