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
    inputs = [{"shift": m.tolist(), "scale": s.tolist()} for m, s in zip(plan.shift, plan.scale, strict=True)]
    output = {"shift": plan.out_shift.tolist(), "scale": plan.out_scale.tolist()}
    more = {"window": plan.window, "edges": plan.points, "closed": "left", "outside": "nearest"}
    return _written({**said, **more}, plan.layers, plan.columns * (plan.window if flat else 1), inputs, output)


def device_text(device: Device, said: Mapping[str, Any]) -> str:
    """Return a recurrent device as JSON: y = gain x + out w(h), h of a branch of input scale times x.

    Raises:
        ExportError: for a device that is no network.
    """
    if device.kind not in ("gru", "lstm"):
        raise ExportError(f"--to json holds networks, and a device of kind {device.kind!r} is none; take --to c")
    parts: Any = device
    scales = zip(parts.scales.tolist(), parts.gains.tolist(), strict=True)
    inputs = [{"shift": [0.0], "scale": [1 / before]} for before, _ in parts.scales.tolist()]
    output = [{"shift": 0.0, "scale": after, "gain": gain} for (_, after), gain in scales]
    layers = stacked([cells_read(*pair) for pair in zip(parts.cells, parts.reads, strict=True)])
    return _written({**said, "knob": device.knob}, layers, 1, inputs, output)


def _written(said: Mapping[str, Any], layers: Sequence[Layer], wide: int, inputs: list[Any], output: Any) -> str:
    shape = [None, None, wide]
    branches = [{"in_shape": shape, "layers": [_layer(layer, r) for layer in layers]} for r in range(len(inputs))]
    whole = {"format": FORMAT, **said, "input": inputs, "output": output, "branches": branches}
    return json.dumps(plain(whole), allow_nan=False)


def _layer(layer: Layer, r: int) -> dict[str, Any]:
    """Return a layer of range r in RTNeural's form, which is Keras' order of weights."""
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
