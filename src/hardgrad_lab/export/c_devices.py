"""A device as C: the frame that all kinds share, and those that are solved or recurrent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.c_dynamics import compressor, envelope, gate
from hardgrad_lab.export.c_layers import cell, dense
from hardgrad_lab.export.c_network import look_up, weights
from hardgrad_lab.export.c_switch import SET_KNOB
from hardgrad_lab.export.plan import ExportError, Layer, cell_layers, dense_layer, numbers, stacked
from hardgrad_lab.export.recipe import Recipe, ring


def device_code(device: Device) -> str:
    """Return the C of a device: struct, init, reset, set_knob, process.

    Raises:
        ExportError: for a kind without a recipe.
    """
    if device.kind not in RECIPES:
        raise ExportError(f"a device of kind {device.kind!r} has no form in C; these have: {', '.join(RECIPES)}")
    recipe = RECIPES[device.kind](device)
    state = "".join(f"  @real {name}[{length}];\n" for name, length in recipe.state.items())
    clear = "".join(
        f"  for (j = 0; j < {length}; j++) s->{name}[j] = {recipe.begin.get(name, '0')};\n"
        for name, length in recipe.state.items()
    )
    return f"""\
{weights(recipe.layers, double=True, more=recipe.arrays)}{_look_up(device.knob) if device.knob else ""}
typedef struct {{
{state}  int range;
}} @state;

static inline void @reset(@state* s) {{
  int j = 0;
{clear}  (void)j; (void)s;
}}
static inline void @init(@state* s) {{ s->range = 0; @reset(s); }}
{SET_KNOB if device.knob else ""}
static inline void @process(@state* s, float* buffer, int n) {{
  int i = 0, j = 0, t;
  const @branch* b = @branches + s->range;
  for (t = 0; t < n; t++) {{
    @real x = buffer[t], y = 0;
{recipe.step}    buffer[t] = (float)y;
  }}
  (void)i; (void)j; (void)b;
}}
"""


def _look_up(knob: list[float]) -> str:
    """Return the function from where a knob stands to its set of parameters: that of the nearest recorded value."""
    return look_up([knob[0], *((low + high) / 2 for low, high in pairwise(knob)), knob[-1]])


def _constant(device: Any) -> Recipe:
    return Recipe(arrays={"gain": numbers(device.values[:, 0])}, step="    y = b->gain * x;\n")


def _filter(device: Any) -> Recipe:
    taps = device.taps
    layer = Layer(
        kind="dense", arrays={"weight": numbers(device.values[:, None]), "bias": np.zeros((len(device.values), 1))}
    )
    step = f"""\
    @real sums[8], out[1], *past;
    (void)sums;
{ring(taps)}{dense(layer, 0, "past", "out")}    y = out[0];
"""
    return Recipe(layers=[layer], state={"past": 2 * taps, "at": 1}, step=step)


def _table(device: Any) -> Recipe:
    n = device.knots
    at, value = numbers(device.values).reshape(-1, 2, n).swapaxes(0, 1)
    step = f"""\
    int low = 0, high = {n - 1}, middle;
    while (high - low > 1) {{
      middle = (low + high) / 2;
      if (x >= b->at[middle]) low = middle; else high = middle;
    }}
    y = (x - b->at[low]) / (b->at[high] - b->at[low]);
    y = b->value[low] + (y < 0 ? 0 : y > 1 ? 1 : y) * (b->value[high] - b->value[low]);
"""
    return Recipe(arrays={"at": at, "value": value}, step=step)


def _recurrent(device: Any) -> Recipe:
    a, b = numbers(device.scales).T
    cells = stacked([cell_layers(each)[0] for each in device.cells])
    read = stacked([dense_layer(each) for each in device.reads])
    inner = Layer(kind=cells.kind, arrays=cells.arrays | {"weight_ih": cells.arrays["weight_ih"] * a[:, None, None]})
    scaled = {"weight": read.arrays["weight"] * b[:, None, None], "bias": read.arrays["bias"] * b[:, None]}
    outer = Layer(kind="dense", arrays=scaled)
    gates, n = inner.arrays["weight_ih"].shape[1], inner.width
    step = f"""\
    @real g[{gates}], u[{gates}], sums[8], in[1], out[1];
    (void)u; (void)sums;
    in[0] = x;
{cell(inner, 0, "in", "s->h", "s->c")}{dense(outer, 1, "s->h", "out")}    y = b->gain * x + out[0];
"""
    return Recipe(layers=[inner, outer], arrays={"gain": numbers(device.gains)}, state={"h": n, "c": n}, step=step)


RECIPES: dict[str, Callable[[Any], Recipe]] = {
    "constant": _constant,
    "filter": _filter,
    "table": _table,
    "gru": _recurrent,
    "lstm": _recurrent,
    "compressor": compressor,
    "gate": gate,
    "envelope": envelope,
}
