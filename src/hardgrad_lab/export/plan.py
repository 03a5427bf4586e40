"""A fitted switch as plain numbers, all branches of a layer in one array: what C and JSON write down."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.folder import Model
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.training.branches import Convolution, Recurrent

COARSE = 2e-7  # of full scale: what single precision may cost a prediction
PROBE = 2048  # samples of each wave it is tried on


class ExportError(ValueError):
    """A model that has no such form; the message says why, and which form it has."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of every branch.

    Args:
        kind: "dense", "conv1d", "gru" or "lstm".
        arrays: by torch's name, the branches in dimension 0.
        relu: whether max(0, .) follows.
        dilation: of a convolution.
    """

    kind: str
    arrays: dict[str, Array]
    relu: bool = False
    dilation: int = 1

    @property
    def width(self) -> int:
        """Return how many numbers it gives."""
        return int(self.arrays["weight_hh"].shape[2] if "weight_hh" in self.arrays else self.arrays["weight"].shape[1])

    def times(self, scale: Array, shift: Array | float = 0.0) -> Layer:
        """Return a dense layer whose numbers come out times a scale, plus a shift."""
        weight, bias = self.arrays["weight"] * scale[..., None], self.arrays["bias"] * scale + shift
        return replace(self, arrays={"weight": weight, "bias": bias})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A switch between networks of one shape; branch r sees (x - shift[r]) / scale[r], (N, window * columns) each.

    The network's numbers times ``out_scale`` plus ``out_shift`` are the prediction. ``raw`` is the place of the input
    whose shift and scale differ from range to range, or None; ``by_knob`` says that a sound's key is its knob;
    ``double`` that single precision is too coarse.
    """

    points: tuple[float, ...]
    window: int
    columns: int
    raw: int | None
    by_knob: bool
    double: bool
    layers: list[Layer]
    shift: Array
    scale: Array
    out_shift: Array
    out_scale: Array


def plan_of(model: Model) -> Plan:
    """Return a fitted switch as numbers.

    Raises:
        ExportError: for a branch of the user's own code.
    """
    made, switch = model.architecture_, model.network_
    if ":" in made.branch or not made.branch:
        raise ExportError(
            f"--to c and --to json need a branch by name, got {made.branch or 'a function'!r}, whose code they cannot "
            "know; take --to onnx or --to torch"
        )
    ranges = range(len(model.ranges_))
    shift, scale = (np.tile(part, (len(ranges), made.window)) for part in (model.scaling_.mean, model.scaling_.scale))
    if made.raw is not None and switch.normalise is not None:
        shift[:, made.raw], scale[:, made.raw] = switch.normalise.centre.numpy(), switch.normalise.half_width.numpy()
    numeric = isinstance(model, SwitchRegressor)
    return Plan(
        points=model.points_,
        window=made.window,
        columns=made.columns,
        raw=made.raw,
        by_knob=model.key_ != model.inputs_[0],
        double=wants_double(model),
        layers=stacked([_layers_of(switch.branch(i)) for i in ranges]),
        shift=shift,
        scale=scale,
        out_shift=model.target_scaling_.mean if numeric else np.zeros(made.out_features),
        out_scale=model.target_scaling_.scale if numeric else np.ones(made.out_features),
    )


def wants_double(model: Model) -> bool:
    """Return whether single precision is too coarse for a fitted model."""
    return model.architecture_.dtype == torch.float64 or _rounding(model) > COARSE


def _rounding(model: Model) -> float:
    """Return how far predictions of the network in single precision are off, on decaying tones and noise."""
    if model.n_features_in_ > 1:
        return math.inf
    time = np.arange(PROBE) / PROBE
    random = np.random.default_rng(0)
    waves = [np.sin(300 * time), random.normal(size=PROBE) / 3, random.normal(size=PROBE) / 30]
    sound = np.concatenate([wave * np.exp(-3 * time) for wave in waves])[:, None]
    names = getattr(model, "feature_names_in_", None)
    rows = model.as_rows(sound if names is None else pd.DataFrame(sound, columns=names))
    x, key = rows.take(torch.arange(len(rows)))
    with torch.no_grad():
        single = copy.deepcopy(model.network_).float()(x.float(), key).double()
        apart = (single - model.network_(x, key)).abs().amax(0).numpy()
    return float((apart * getattr(model, "target_scaling_", model.scaling_).scale).max())


def _layers_of(branch: nn.Module) -> list[Layer]:
    parts = list(branch) if isinstance(branch, nn.Sequential) else [branch]
    last = parts[-1]
    if isinstance(last, Convolution):
        rows = [_layer("conv1d", part, relu=True, dilation=2**i) for i, part in enumerate(last.layers)]
        return [*rows, _layer("dense", last.read)]
    if isinstance(last, Recurrent):
        return cells_read(last.cell, last.read)
    dense = [part for part in parts if isinstance(part, nn.Linear)]
    return [_layer("dense", part, relu=part is not dense[-1]) for part in dense]


def cells_read(cell: nn.RNNBase, read: nn.Linear) -> list[Layer]:
    """Return the layers of a GRU or LSTM, one above the other, and of the line that reads the last."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    each = [{name: numbers(getattr(cell, f"{name}_l{i}")) for name in names} for i in range(cell.num_layers)]
    return [*(Layer(kind=cell.mode.lower(), arrays=arrays) for arrays in each), _layer("dense", read)]


def _layer(kind: str, module: nn.Module, *, relu: bool = False, dilation: int = 1) -> Layer:
    arrays = {name: numbers(value) for name, value in module.named_parameters()}
    return Layer(kind=kind, arrays=arrays, relu=relu, dilation=dilation)


def numbers(value: Tensor) -> Array:
    """Return a tensor in double precision."""
    found: Array = value.detach().cpu().double().numpy()
    return found


def stacked(branches: Sequence[Sequence[Layer]]) -> list[Layer]:
    """Return each layer of all branches as one."""
    return [
        replace(same[0], arrays={name: np.stack([one.arrays[name] for one in same]) for name in same[0].arrays})
        for same in zip(*branches, strict=True)
    ]
