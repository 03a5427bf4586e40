"""The state machine of a gate, sample by sample: in C, or where nothing compiles it in Python, the same bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hardgrad.devices.native import call, native

# A machine's settings: the detector's coefficient, the levels where it opens and closes, the samples that it holds.
SETTINGS = 4
_SOURCE = r"""
#include <math.h>
typedef long long count;
typedef struct { double level, open, below; } Gate;

static inline void step(Gate *gate, double v, const double *setting) {
    /* What is not finite moves no level. */
    if (v >= gate->level && v < INFINITY) gate->level = v;
    else if (v < gate->level) gate->level = setting[0] == 1 ? v : gate->level + setting[0] * (v - gate->level);
    if (gate->open) {
        gate->below = gate->level < setting[2] ? gate->below + 1 : 0;
        if (gate->below > setting[3]) gate->open = gate->below = 0;
    } else gate->open = gate->level >= setting[1];
}

void opened(const double *v, const double *setting, const double *start, double *is_open, double *end, count rows,
            count machines, count samples) {
    for (count i = 0; i < rows; i++) {
        Gate gate = { start[4 * i], start[4 * i + 1], start[4 * i + 2] };
        for (count t = 0; t < samples; t++) {
            step(&gate, v[i * samples + t], setting + 4 * i);
            is_open[i * samples + t] = gate.open;
        }
        end[3 * i] = gate.level; end[3 * i + 1] = gate.open; end[3 * i + 2] = gate.below;
    }
}

void sums(const double *v, const double *pull, const double *setting, const double *shape, const double *start,
          double *sum, count rows, count machines, count samples) {
    for (count j = 0; j < rows * machines; j++) {
        count i = j / machines;
        const double *before = start + 4 * i, *rate = shape + 3 * i;
        Gate gate = { before[0], before[1], before[2] };
        double gain = before[3], total = 0;
        for (count t = 0; t < samples; t++) {
            step(&gate, v[i * samples + t], setting + 4 * j);
            double target = gate.open ? 1 : rate[2];
            gain += (target > gain ? rate[0] : rate[1]) * (target - gain);
            total += pull[i * samples + t] * gain;
        }
        sum[j] = total;
    }
}
"""


def _run(name: str, given: list[Tensor], made: list[Tensor]) -> None:
    """Fill ``made`` from ``given``: v (n, T), ..., settings (n, m, 4), ..., start (n, 4)."""
    if given[0].device.type != "cpu":
        aside = [torch.empty_like(each, device="cpu") for each in made]
        _run(name, [each.cpu() for each in given], aside)
        for each, there in zip(made, aside, strict=True):
            each.copy_(there)
        return
    library = native(_SOURCE, "gate")
    if library is not None:
        rows, machines = given[-2 if name == "opened" else -3].shape[:2]
        call(getattr(library, name), *(x.contiguous() for x in given), *made, rows, machines, given[0].shape[1])
        return
    one_row: Any = _opened if name == "opened" else _sums
    by_row = [one_row(*row) for row in zip(*(x.tolist() for x in given), strict=True)]
    for each, found in zip(made, zip(*by_row, strict=True), strict=False):
        each.copy_(torch.tensor(found, dtype=torch.float64).view(each.shape))


def _steps(v: list[float], setting: list[float], start: list[float]) -> Iterator[tuple[float, float, float]]:
    detector, open_at, close_at, hold = setting
    level, is_open, below, *_ = start
    for value in v:
        if level <= value < float("inf"):
            level = value
        elif value < level:
            level = value if detector == 1 else level + detector * (value - level)
        if is_open:
            below = below + 1 if level < close_at else 0.0
            if below > hold:
                is_open = below = 0.0
        else:
            is_open = float(level >= open_at)
        yield level, is_open, below


def _opened(v: list[float], settings: list[list[float]], start: list[float]) -> tuple[list[float], list[float]]:
    steps = list(_steps(v, settings[0], start))
    return [step[1] for step in steps], list(steps[-1] if steps else start[:3])


def _sums(
    v: list[float], pull: list[float], settings: list[list[float]], shape: list[float], start: list[float]
) -> tuple[list[float]]:
    attack, release, closed = shape
    totals = []
    for setting in settings:
        gain, total = start[3], 0.0
        for (_, is_open, _), weight in zip(_steps(v, setting, start), pull, strict=True):
            target = 1.0 if is_open else closed
            gain += (attack if target > gain else release) * (target - gain)
            total += weight * gain
        totals.append(total)
    return (totals,)


def _gate(v: Tensor, setting: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    made = [torch.empty_like(v, memory_format=torch.contiguous_format), v.new_empty(len(v), 3)]
    _run("opened", [v, setting.unsqueeze(1), start], made)
    return made[0], made[1]


def _gate_sums(v: Tensor, pull: Tensor, setting: Tensor, shape: Tensor, start: Tensor) -> Tensor:
    made = v.new_empty(setting.shape[:2])
    _run("sums", [v, pull, setting, shape, start], [made])
    return made


# One node of a compiled or exported graph each. By hand, as ``no_gradient`` says.
_library = torch.library.Library("hardgrad", "FRAGMENT")
_library.define("gate(Tensor v, Tensor setting, Tensor start) -> (Tensor, Tensor)")
_library.define("gate_sums(Tensor v, Tensor pull, Tensor setting, Tensor shape, Tensor start) -> Tensor")


def _like_gate(v: Tensor, setting: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v, memory_format=torch.contiguous_format), v.new_empty(v.shape[0], 3)


def _like_sums(v: Tensor, pull: Tensor, setting: Tensor, shape: Tensor, start: Tensor) -> Tensor:
    return v.new_empty(setting.shape[:2])


_made: list[tuple[str, Any, Any]] = [("gate", _gate, _like_gate), ("gate_sums", _gate_sums, _like_sums)]
for _name, _function, _fake in _made:
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"hardgrad::{_name}", _fake, lib=_library)
