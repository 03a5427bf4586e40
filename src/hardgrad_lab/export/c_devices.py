"""Each kind of device as C: what a set of parameters holds, what the state holds, and the lines of one sample.

In these lines ``x`` is the sample, ``y`` what comes out, ``b`` the parameters that the knob takes, ``s`` the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.c_layers import KEEP, cell, dense
from hardgrad_lab.export.c_network import look_up, weights
from hardgrad_lab.export.c_switch import SET_KNOB
from hardgrad_lab.export.c_text import fields, table
from hardgrad_lab.export.plan import ExportError, Layer, cell_layers, dense_layer, stacked
from hardgrad_lab.fit.rows import Array

DB = float(np.log(10) / 20)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a kind becomes C.

    Args:
        arrays: numbers by name, the sets of parameters in dimension 0.
        layers: of a network, in the same table.
        state: fields of the struct, by name and length; all begin at ``begin``, or 0.
        step: the lines of one sample.
        begin: what fields begin at.
        functions: that the lines call.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    state: dict[str, int] = field(default_factory=dict)
    step: str
    begin: dict[str, str] = field(default_factory=dict)
    functions: str = ""


def device_code(device: Device) -> str:
    """Return the C of a device: struct, init, reset, set_knob, process.

    Raises:
        ExportError: for a kind without a recipe.
    """
    if device.kind not in RECIPES:
        raise ExportError(f"a device of kind {device.kind!r} has no form in C; these have: {', '.join(RECIPES)}")
    recipe = RECIPES[device.kind](device)
    if recipe.layers:
        numbers = weights(recipe.layers, double=True, more=recipe.arrays)
    else:
        rows = table(recipe.arrays, double=True)
        count = len(next(iter(recipe.arrays.values())))
        numbers = f"{KEEP}typedef struct {{\n{fields(recipe.arrays)}}} @branch;\n"
        numbers += f"static const @branch @branches[{count}] = {{\n{rows}}};\n"
    state = "".join(f"  @real {name}[{length}];\n" for name, length in recipe.state.items())
    clear = "".join(
        f"  for (j = 0; j < {length}; j++) s->{name}[j] = {recipe.begin.get(name, '0')};\n"
        for name, length in recipe.state.items()
    )
    return f"""\
{numbers}{recipe.functions}{knob_code(device.knob) if device.knob else ""}
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


def knob_code(values: list[float]) -> str:
    """Return the function from where a knob stands to its set of parameters: that of the nearest recorded value."""
    between = [(low + high) / 2 for low, high in pairwise(values)]
    return look_up([values[0], *between, values[-1]])


def _numbers(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().double().numpy()
    return found


def _constant(device: Any) -> Recipe:
    return Recipe(arrays={"gain": _numbers(device.values[:, 0])}, step="    y = b->gain * x;\n")


def _filter(device: Any) -> Recipe:
    taps = device.taps
    layer = Layer(
        kind="dense", arrays={"weight": _numbers(device.values[:, None]), "bias": np.zeros((len(device.values), 1))}
    )
    step = f"""\
    @real sums[8], out[1], *past;
    (void)sums;
{_ring(taps)}{dense(layer, 0, "past", "out")}    y = out[0];
"""
    return Recipe(layers=[layer], state={"past": 2 * taps, "at": 1}, step=step)


def _table(device: Any) -> Recipe:
    n = device.knots
    at, value = _numbers(device.values).reshape(-1, 2, n).swapaxes(0, 1)
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
    a, b = _numbers(device.scales).T
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
    return Recipe(layers=[inner, outer], arrays={"gain": _numbers(device.gains)}, state={"h": n, "c": n}, step=step)


def pole(ms: Array, rate: float) -> Array:
    """Return the coefficient of a time constant; 0 ms is at once."""
    with np.errstate(divide="ignore"):
        found: Array = -np.expm1(-1000.0 / (ms * rate))
    return found


def _compressor(device: Any) -> Recipe:
    layer, rate = device.layer, device.rate
    says = {name: np.atleast_1d(_numbers(getattr(layer, name))) for name in layer.settings}
    rms = layer.detector == "rms"
    arrays = {
        "threshold": says["threshold_db"],
        "slope": 1 - 1 / says["ratio"],
        "knee": says["knee_db"],
        "makeup": says["makeup_db"],
        "attack": pole(says["attack_ms"], rate),
        "release": pole(says["release_ms"], rate),
        "mean": np.broadcast_to(pole(says["rms_ms"], rate), says["ratio"].shape),
    }
    if rms:
        level = """\
    s->power[0] += b->mean * (x * x - s->power[0]);
    level = 10 * log10(s->power[0] < 1e-12 ? 1e-12 : s->power[0]);
"""
    else:
        level = "    level = 20 * log10(fabs(x) < 1e-6 ? 1e-6 : fabs(x));\n"
    step = f"""\
    double level, over, held, inside;
{level}    over = level - b->threshold + b->knee / 2;
    inside = over < 0 ? 0 : over > b->knee ? b->knee : over;
    held = over > b->knee ? over - b->knee : 0 * over;
    held = b->slope * (held + (b->knee > 0 ? inside * inside / (2 * b->knee) : 0));
    s->reduction[0] += (held > s->reduction[0] ? b->attack : b->release) * (held - s->reduction[0]);
    y = x * exp((b->makeup - s->reduction[0]) * {DB!r});
"""
    return Recipe(arrays=arrays, state={"reduction": 1, "power": 1}, step=step)


def _gate(device: Any) -> Recipe:
    layer, rate = device.layer, device.rate
    says = {name: np.atleast_1d(_numbers(getattr(layer, name))) for name in layer.settings}
    arrays = {name: pole(says[f"{name}_ms"], rate) for name in ("detector", "attack", "release")}
    arrays |= {
        "open_at": 10 ** (says["open_db"] / 20),
        "close_at": 10 ** (np.minimum(says["close_db"], says["open_db"]) / 20),
        "hold": says["hold_ms"] * (rate / 1000),
        "closed": 10 ** (says["range_db"] / 20),
    }
    step = """\
    double v = fabs(x), target;
    if (v >= s->level[0] && v < HUGE_VAL) s->level[0] = v; /* what is not finite moves no level */
    else if (v < s->level[0]) s->level[0] += b->detector * (v - s->level[0]);
    if (s->open[0] > 0) {
      s->below[0] = s->level[0] < b->close_at ? s->below[0] + 1 : 0;
      if (s->below[0] > b->hold) s->open[0] = s->below[0] = 0;
    } else s->open[0] = s->level[0] >= b->open_at;
    target = s->open[0] > 0 ? 1 : b->closed;
    s->gain[0] += (target > s->gain[0] ? b->attack : b->release) * (target - s->gain[0]);
    y = x * s->gain[0];
"""
    return Recipe(
        arrays=arrays,
        state=dict.fromkeys(("level", "open", "below", "gain"), 1),
        begin={"gain": "@branches[s->range].closed"},
        step=step,
    )


def _envelope(device: Any) -> Recipe:
    n, taps = device.spec["ranges"], device.spec["taps"]
    switches, keys = [one.switch for one in device.sets], [one.key for one in device.sets]
    points = np.array([switch.ranges.points for switch in switches], dtype=np.float32).astype(np.float64)
    arrays = {
        name: pole(np.array([float(getattr(key, f"{name}_ms")) for key in keys]), device.rate)
        for name in ("attack", "release")
    }
    arrays |= {
        "points": points[:, 1:],
        "center": np.stack([_numbers(switch.normalise.centre) for switch in switches]),
        "half": np.stack([_numbers(switch.normalise.half_width) for switch in switches]),
        "weight": np.stack([[_numbers(switch.branch(i).weight) for i in range(n)] for switch in switches]),
    }
    floor = 10 ** (keys[0].floor_db / 20)
    step = f"""\
    double v = fabs(x), u, *past;
    float level; /* it is compared in single precision, as the model compares it */
    s->level[0] += (v > s->level[0] ? b->attack : b->release) * (v - s->level[0]);
    level = (float)(20 * log10(s->level[0] < {floor!r} ? {floor!r} : s->level[0]));
    for (i = 0; i < {n - 1} && level >= b->points[i];) i++;
    u = (level - b->center[i]) / b->half[i];
    u = u < -1 ? -1 : u > 1 ? 1 : u;
{_ring(taps)}    for (j = 0; j < {taps}; j++) y += (b->weight[i][0][j] + u * b->weight[i][1][j]) * past[j];
"""
    return Recipe(arrays=arrays, state={"level": 1, "past": 2 * taps, "at": 1}, step=step)


def _ring(taps: int) -> str:
    """Return the lines that keep samples twice in a ring, so that the last ones are always a row, the newest first."""
    return f"""\
    s->at[0] = s->at[0] > 0 ? s->at[0] - 1 : {taps - 1};
    past = s->past + (int)s->at[0];
    past[0] = past[{taps}] = x;
"""


RECIPES: dict[str, Callable[[Any], Recipe]] = {
    "constant": _constant,
    "filter": _filter,
    "table": _table,
    "compressor": _compressor,
    "gate": _gate,
    "envelope": _envelope,
    "gru": _recurrent,
    "lstm": _recurrent,
}
