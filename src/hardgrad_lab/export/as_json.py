"""JSON: each branch as RTNeural reads a model, and around it what a switch adds: the points and an affine map a range.

A row's range is that of its key; its branch sees (input - shift) / scale, and its numbers times the output's scale plus
its shift are the prediction. Dense branches take the flat window, oldest row first; others take it row by row from a
cleared state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.plan import ExportError, Layer, Plan, cells_read, stacked
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.runs.model_files import plain

FORMAT = "hardgrad-rtneural-1"


def text(plan: Plan, said: Mapping[str, Any]) -> str:
    """Return a switch as JSON; ``said`` tells of its columns."""
    flat = plan.layers[0].kind == "dense"
    wide = plan.columns * plan.window if flat else plan.columns
    whole = {
        "format": FORMAT,
        **said,
        "window": plan.window,
        "edges": plan.points,
        "closed": "left",
        "outside": "nearest",
        "input": [
            {"shift": plan.shift[r].tolist(), "scale": plan.scale[r].tolist()} for r in range(len(plan.points) - 1)
        ],
        "output": {"shift": plan.out_shift.tolist(), "scale": plan.out_scale.tolist()},
        "branches": [rtneural(plan.layers, r, wide) for r in range(len(plan.points) - 1)],
    }
    return json.dumps(plain(whole), allow_nan=False)


def rtneural(layers: Sequence[Layer], r: int, wide: int) -> dict[str, Any]:
    """Return range r's network in RTNeural's form, which is Keras' order of weights."""
    return {"in_shape": [None, None, wide], "layers": [_layer(layer, r) for layer in layers]}


def _layer(layer: Layer, r: int) -> dict[str, Any]:
    said = {
        "type": layer.kind,
        "activation": "relu" if layer.relu else "",
        "shape": [None, None, layer.width],
        "weights": [weight.tolist() for weight in _weights(layer, {name: a[r] for name, a in layer.arrays.items()})],
    }
    if layer.kind == "conv1d":
        said |= {"kernel_size": [layer.arrays["weight"].shape[-1]], "dilation": [layer.dilation]}
    return said


def _weights(layer: Layer, a: Mapping[str, Array]) -> list[Array]:
    if layer.kind == "dense":
        return [a["weight"].T, a["bias"]]
    if layer.kind == "conv1d":
        return [a["weight"].transpose(2, 1, 0), a["bias"]]
    if layer.kind == "lstm":
        return [a["weight_ih"].T, a["weight_hh"].T, a["bias_ih"] + a["bias_hh"]]
    n = layer.width
    order = np.r_[n : 2 * n, :n, 2 * n : 3 * n]  # torch has the reset gate first, Keras the update gate
    biases = np.stack([a["bias_ih"][order], a["bias_hh"][order]])
    return [a["weight_ih"][order].T, a["weight_hh"][order].T, biases]


def device_text(device: Device, said: Mapping[str, Any]) -> str:
    """Return a recurrent device as JSON: y = gain x + out w(h), h of a branch of input scale times x.

    Raises:
        ExportError: for a device that is no network.
    """
    if device.kind not in ("gru", "lstm"):
        raise ExportError(f"--to json holds networks, and a device of kind {device.kind!r} is none; take --to c")
    parts: Any = device
    gains, scales = parts.gains.tolist(), parts.scales.tolist()
    layers = stacked([cells_read(*pair) for pair in zip(parts.cells, parts.reads, strict=True)])
    whole = {
        "format": FORMAT,
        **said,
        "knob": device.knob,
        "input": [{"shift": [0.0], "scale": [1 / before]} for before, _ in scales],
        "output": [
            {"shift": 0.0, "scale": after, "gain": gain} for (_, after), gain in zip(scales, gains, strict=True)
        ],
        "branches": [rtneural(layers, r, 1) for r in range(len(gains))],
    }
    return json.dumps(plain(whole), allow_nan=False)
