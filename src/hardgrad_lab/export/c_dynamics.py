"""Compressors, gates and switches on a level as C."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardgrad_lab.export.plan import numbers
from hardgrad_lab.export.recipe import Recipe, pole, ring

DB = float(np.log(10) / 20)


def compressor(device: Any) -> Recipe:
    """Return the recipe of kind ``compressor``."""
    layer, rate = device.layer, device.rate
    says = {name: np.atleast_1d(numbers(getattr(layer, name))) for name in layer.settings}
    rms = layer.detector == "rms"
    arrays = {
        "threshold": says["threshold_db"],
        "slope": 1 - 1 / says["ratio"],
        "knee": says["knee_db"],
        "makeup": says["makeup_db"],
        "polarity": numbers(device.polarity),
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
    y = b->polarity * x * exp((b->makeup - s->reduction[0]) * {DB!r});
"""
    return Recipe(arrays=arrays, state={"reduction": 1, "power": 1}, step=step)


def gate(device: Any) -> Recipe:
    """Return the recipe of kind ``gate``."""
    layer, rate = device.layer, device.rate
    says = {name: np.atleast_1d(numbers(getattr(layer, name))) for name in layer.settings}
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


def envelope(device: Any) -> Recipe:
    """Return the recipe of kind ``envelope``."""
    n, taps = device.spec["ranges"], device.spec["taps"]
    switches, keys = [one.switch for one in device.sets], [one.key for one in device.sets]
    points = np.array([switch.ranges.points for switch in switches], dtype=np.float32).astype(np.float64)
    arrays = {
        name: pole(np.array([float(getattr(key, f"{name}_ms")) for key in keys]), device.rate)
        for name in ("attack", "release")
    }
    arrays |= {
        "points": points[:, 1:],
        "center": np.stack([numbers(switch.normalise.centre) for switch in switches]),
        "half": np.stack([numbers(switch.normalise.half_width) for switch in switches]),
        "weight": np.stack([[numbers(switch.branch(i).weight) for i in range(n)] for switch in switches]),
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
{ring(taps)}    for (j = 0; j < {taps}; j++) y += (b->weight[i][0][j] + u * b->weight[i][1][j]) * past[j];
"""
    return Recipe(arrays=arrays, state={"level": 1, "past": 2 * taps, "at": 1}, step=step)
