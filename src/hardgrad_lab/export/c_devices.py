"""Each kind of device as C: its numbers, its state, and the lines of one sample.

In these lines ``x`` is the sample, ``y`` what comes out, ``b`` the parameters that the knob takes, ``s`` the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.c_layers import arrays_of, cell, dense
from hardgrad_lab.export.c_network import frame
from hardgrad_lab.export.c_text import table
from hardgrad_lab.export.plan import cells_read, numbers, stacked
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.sounds.knob import Knob

DB = float(np.log(10) / 20)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind: numbers by name, the sets of parameters in dimension 0; state and begin as ``frame`` has them."""

    arrays: dict[str, Array]
    step: str
    state: dict[str, int] = field(default_factory=dict)
    begin: dict[str, str] = field(default_factory=dict)


def device_code(device: Device) -> str:
    """Return the C of a device: struct, init, reset, set_knob, process."""
    recipe = RECIPES[device.kind](device)
    points = Knob(name="knob", values=tuple(device.knob)).points() if device.knob else None
    return f"""\
{table(recipe.arrays, double=True)}{frame(points, recipe.state, recipe.begin)}
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


def constant(device: Any) -> Recipe:
    """Return one gain."""
    return Recipe(arrays={"gain": numbers(device.values[:, 0])}, step="    y = b->gain * x;\n")


def taps(device: Any) -> Recipe:
    """Return a filter."""
    step = f"{_ring(device.taps)}    y = @dot(b->weight, past, {device.taps});\n"
    return Recipe(arrays={"weight": numbers(device.values)}, state={"past": 2 * device.taps, "at": 1}, step=step)


def curve(device: Any) -> Recipe:
    """Return a static curve."""
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


def recurrent(device: Any) -> Recipe:
    """Return a GRU or LSTM, the scales before and after it in its weights."""
    a, b = numbers(device.scales).T[..., None]
    inner, read = stacked([cells_read(*pair) for pair in zip(device.cells, device.reads, strict=True)])
    inner = replace(inner, arrays=inner.arrays | {"weight_ih": inner.arrays["weight_ih"] * a[..., None]})
    layers = [inner, read.times(b)]
    gates, n = inner.arrays["weight_ih"].shape[1], inner.width
    step = f"""\
    @real g[{gates}], u[{gates}], in[1], out[1];
    in[0] = x;
{cell(inner, 0, "in", "s->h", "s->c")}{dense(layers[1], 1, "s->h", "out")}    y = b->gain * x + out[0];
"""
    return Recipe(arrays={"gain": numbers(device.gains)} | arrays_of(layers), state={"h": n, "c": n}, step=step)


def compressor(device: Any) -> Recipe:
    """Return a compressor."""
    says, rate = _settings(device), device.rate
    arrays = {name: _pole(says[f"{name}_ms"], rate) for name in ("attack", "release")}
    arrays |= {name: says[f"{name}_db"] for name in ("threshold", "knee", "makeup")}
    arrays |= {
        "slope": 1 - 1 / says["ratio"],
        "polarity": device.polarity.double().numpy(),
        "mean": np.broadcast_to(_pole(says["rms_ms"], rate), arrays["knee"].shape),
    }
    level = "    level = 20 * log10(fabs(x) < 1e-6 ? 1e-6 : fabs(x));\n"
    if device.layer.detector == "rms":
        level = """\
    s->power[0] += b->mean * (x * x - s->power[0]);
    level = 10 * log10(s->power[0] < 1e-12 ? 1e-12 : s->power[0]);
"""
    step = f"""\
    double level, over, held, inside;
{level}    over = level - b->threshold + b->knee / 2;
    inside = over < 0 ? 0 : over > b->knee ? b->knee : over;
    held = over > b->knee ? over - b->knee : 0 * over;
    held = b->slope * (held + (b->knee > 0 ? inside * inside / (2 * b->knee) : 0));
    s->reduction[0] += (held > s->reduction[0] ? b->attack : b->release) * (held - s->reduction[0]);
    y = b->polarity * x * exp((b->makeup - s->reduction[0]) * {DB!r});
"""
    return Recipe(arrays=arrays, state={"reduction": 1, "power": 1}, step=step)


def gate(device: Any) -> Recipe:
    """Return a gate."""
    says = _settings(device)
    arrays = {name: _pole(says[f"{name}_ms"], device.rate) for name in ("detector", "attack", "release")}
    arrays |= {
        "open_at": 10 ** (says["open_db"] / 20),
        "close_at": 10 ** (np.minimum(says["close_db"], says["open_db"]) / 20),
        "hold": says["hold_ms"] * (device.rate / 1000),
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
    state: dict[str, int] = dict.fromkeys(["level", "open", "below", "gain"], 1)
    return Recipe(arrays=arrays, state=state, begin={"gain": "@branches[s->range].closed"}, step=step)


def envelope(device: Any) -> Recipe:
    """Return a switch on the level."""
    n, count = device.spec["ranges"], device.spec["taps"]
    switches, keys = [one.switch for one in device.sets], [one.key for one in device.sets]
    times = {name: np.array([float(getattr(key, f"{name}_ms")) for key in keys]) for name in ("attack", "release")}
    points = np.array([switch.ranges.points for switch in switches], dtype=np.float32).astype(np.float64)
    arrays = {name: _pole(ms, device.rate) for name, ms in times.items()} | {
        "points": points[:, 1:],
        "center": np.stack([numbers(switch.normalise.centre) for switch in switches]),
        "half": np.stack([numbers(switch.normalise.half_width) for switch in switches]),
        "weight": np.stack([[numbers(switch.branch(i).weight) for i in range(n)] for switch in switches]),
    }
    floor = 10 ** (keys[0].floor_db / 20)
    step = f"""\
    double v = fabs(x), u;
    float level; /* it is compared in single precision, as the model compares it */
    s->level[0] += (v > s->level[0] ? b->attack : b->release) * (v - s->level[0]);
    level = (float)(20 * log10(s->level[0] < {floor!r} ? {floor!r} : s->level[0]));
    for (i = 0; i < {n - 1} && level >= b->points[i];) i++;
    u = (level - b->center[i]) / b->half[i];
    u = u < -1 ? -1 : u > 1 ? 1 : u;
{_ring(count)}    for (j = 0; j < {count}; j++) y += (b->weight[i][0][j] + u * b->weight[i][1][j]) * past[j];
"""
    return Recipe(arrays=arrays, state={"level": 1, "past": 2 * count, "at": 1}, step=step)


def _settings(device: Any) -> dict[str, Array]:
    return {name: np.atleast_1d(numbers(getattr(device.layer, name))) for name in device.layer.settings}


def _pole(ms: Array, rate: float) -> Array:
    """Return the coefficient of a time constant; 0 ms is at once."""
    with np.errstate(divide="ignore"):
        found: Array = -np.expm1(-1000.0 / (ms * rate))
    return found


def _ring(count: int) -> str:
    """Return the lines that keep samples twice in a ring, so that the last ones are always a row, the newest first."""
    return f"""\
    @real* past;
    s->at[0] = s->at[0] > 0 ? s->at[0] - 1 : {count - 1};
    past = s->past + (int)s->at[0];
    past[0] = past[{count}] = x;
"""


RECIPES: dict[str, Callable[[Any], Recipe]] = {
    "constant": constant,
    "filter": taps,
    "table": curve,
    "gru": recurrent,
    "lstm": recurrent,
    "compressor": compressor,
    "gate": gate,
    "envelope": envelope,
}
