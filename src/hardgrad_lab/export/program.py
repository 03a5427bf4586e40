"""A switch as one torch module whose window goes in and out, and its files: a torch program, or ONNX."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad_lab.export.plan import ExportError, wants_double
from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.folder import Model

OPSET = 18
ANY = torch.export.Dim.DYNAMIC


class Program(nn.Module):
    """A switch with its scalings, ``y, past = run(x, past)``; the knob comes last where there is one.

    Sounds are x (channels, samples) in single precision; columns of a table x (rows, columns) in double precision, in
    which their key is compared. ``past`` is the window before x, at first the first row again and again.
    """

    mean: Tensor
    scale: Tensor
    out_mean: Tensor
    out_scale: Tensor

    def __init__(self, model: Model, *, sounds: bool) -> None:
        super().__init__()
        made = model.architecture_
        fine = wants_double(model) and made.branch != "conv"  # of which onnxruntime has none in double precision
        self.made, self.sounds, self.width = made, sounds, model.n_features_in_
        self.classes = not isinstance(model, SwitchRegressor)
        self.key, self.columns = model.key_, [0] if sounds else model.inputs_.tolist()
        self.knob = sounds and self.key not in self.columns
        self.dtype = torch.float64 if fine else torch.float32
        self.network = copy.deepcopy(model.network_).to(self.dtype)
        target = model.target_scaling_ if isinstance(model, SwitchRegressor) else model.scaling_
        parts = (model.scaling_.mean, model.scaling_.scale, target.mean, target.scale)
        for name, part in zip(("mean", "scale", "out_mean", "out_scale"), parts, strict=True):
            self.register_buffer(name, torch.from_numpy(part))
        self.eval().requires_grad_(False)

    def inputs(self) -> dict[str, Tensor]:
        """Return one of each shape by name."""
        before = self.made.window - 1
        x = torch.zeros(2, 37) if self.sounds else torch.zeros(37, self.width).double()
        past = x.new_zeros((2, before) if self.sounds else (before, x.shape[1]))
        return {"x": x} | ({"past": past} if before else {}) | ({"knob": torch.zeros(2)} if self.knob else {})

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        time, window = int(self.sounds), self.made.window
        frames = torch.cat([*rest[: window > 1], x], dim=time)
        rows = frames.unsqueeze(2 if self.sounds else 0).double()
        count = x.shape[time]
        at = torch.arange(count).unsqueeze(1) + torch.arange(window)
        seen = ((rows[..., self.columns] - self.mean) / self.scale)[:, at].flatten(2).flatten(0, 1)
        if self.knob:
            key = rest[-1].unsqueeze(1).expand(x.shape).flatten().double()
        else:
            key = rows[:, window - 1 :, self.key].flatten()
        if self.made.raw is not None:
            seen = seen.index_copy(1, torch.tensor([self.made.raw]), key.unsqueeze(1))
        y = self.network(seen.to(self.dtype), key).double()
        y = y.softmax(1) if self.classes else y * self.out_scale + self.out_mean
        y = y.unflatten(0, (rows.shape[0], count))
        y = y[..., 0].to(x.dtype) if self.sounds else y[0]
        return (y, frames.narrow(time, count, window - 1)) if window > 1 else y

    def call(self) -> str:
        """Return how it is called, in a line."""
        names = ", ".join(self.inputs())
        what = "(channels, samples) in float32" if self.sounds else "(rows, columns) in float64"
        if self.made.window == 1:
            return f"y = run({names}), x {what}"
        return f"y, past = run({names}), x {what}, past of {self.made.window - 1}: at first the first again and again"


def torch_bytes(program: Program) -> bytes:
    """Return a program for ``torch.export.load``."""
    buffer, (example, free) = io.BytesIO(), _example(program)
    torch.export.save(_quietly(lambda: torch.export.export(program, example, dynamic_shapes=free)), buffer)
    return buffer.getvalue()


def onnx_bytes(program: Program) -> bytes:
    """Return a graph of ONNX."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ExportError("--to onnx needs two packages more; install them: pip install 'hardgrad[onnx]'") from None
    buffer, (example, free), inputs = io.BytesIO(), _example(program), list(program.inputs())
    made = _quietly(
        lambda: torch.onnx.export(
            program,
            example,
            dynamo=True,
            dynamic_shapes=free,
            input_names=inputs,
            output_names=["y", "past_out"] if "past" in inputs else ["y"],
            opset_version=OPSET,
            verbose=False,
        )
    )
    made.save(buffer)
    return buffer.getvalue()


def _example(program: Program) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
    """Return inputs, and which of their dimensions may be of any size: channels and samples, or rows."""
    x, *rest = program.inputs().values()
    shapes: tuple[Any, ...] = tuple({0: ANY} if program.sounds else {} for _ in rest)
    return (x, *rest), (dict.fromkeys((0, 1) if program.sounds else (0,), ANY), *((shapes,) if rest else ()))


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
