"""The state machine of a gate, sample by sample: in C, or where nothing compiles it in Python, the same bit for bit."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from torch import Tensor

from hardgrad.devices.loops import Loop, operator, toward

# A machine's setting: the detector's coefficient, the levels where it opens and closes, the samples that it holds.
_SOURCE = r"""
typedef struct { double level, open, below; } Gate;

STEP void step(Gate *gate, double v, in setting) {
    if (v <= 1.7976931348623157e308) gate->level = v >= gate->level ? v : toward(gate->level, v, setting[0]);
    if (gate->open) {
        gate->below = gate->level < setting[2] ? gate->below + 1 : 0;
        if (gate->below > setting[3]) gate->open = gate->below = 0;
    } else gate->open = gate->level >= setting[1];
}

ENTRY opened(in v, in setting, in start, out is_open, out end, count rows, count samples) {
    EACH(i, rows) {
        Gate gate = { start[4 * i], start[4 * i + 1], start[4 * i + 2] };
        for (whole t = 0; t < samples; t++) {
            step(&gate, v[i * samples + t], setting + 4 * i);
            is_open[i * samples + t] = gate.open;
        }
        end[3 * i] = gate.level; end[3 * i + 1] = gate.open; end[3 * i + 2] = gate.below;
    }
}

ENTRY sums(in v, in pull, in setting, in shape, in start, out sum, count rows, count samples, count machines) {
    EACH(j, (whole)rows * machines) {
        whole i = j / machines;
        in before = start + 4 * i, rate = shape + 3 * i;
        Gate gate = { before[0], before[1], before[2] };
        double gain = before[3], total = 0;
        for (whole t = 0; t < samples; t++) {
            step(&gate, v[i * samples + t], setting + 4 * j);
            double target = gate.open ? 1 : rate[2];
            gain = toward(gain, target, target > gain ? rate[0] : rate[1]);
            total += pull[i * samples + t] * gain;
        }
        sum[j] = total;
    }
}
"""


def _steps(v: list[float], setting: list[float], start: list[float]) -> Iterator[tuple[float, float, float]]:
    detector, open_at, close_at, hold = setting
    level, is_open, below, *_ = start
    for value in v:
        if value <= sys.float_info.max:
            level = value if value >= level else toward(level, value, detector)
        if is_open:
            below = below + 1 if level < close_at else 0.0
            if below > hold:
                is_open = below = 0.0
        else:
            is_open = float(level >= open_at)
        yield level, is_open, below


def _opened(v: list[float], setting: list[float], start: list[float]) -> tuple[list[float], list[float]]:
    steps = list(_steps(v, setting, start))
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
            gain = toward(gain, target, attack if target > gain else release)
            total += weight * gain
        totals.append(total)
    return (totals,)


_LOOP = Loop("gate", _SOURCE, {"opened": _opened, "sums": _sums})


@operator("gate(Tensor v, Tensor setting, Tensor start) -> (Tensor, Tensor)")
def _gate(v: Tensor, setting: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    is_open, end = v.new_empty(v.shape), v.new_empty(v.shape[0], 3)
    _LOOP.run("opened", [v, setting, start], [v.shape[1:], (4,), (4,)], [is_open, end])
    return is_open, end


@operator("gate_sums(Tensor v, Tensor pull, Tensor setting, Tensor shape, Tensor start) -> Tensor")
def _gate_sums(v: Tensor, pull: Tensor, setting: Tensor, shape: Tensor, start: Tensor) -> Tensor:
    made, machines = v.new_empty(setting.shape[:2]), setting.shape[1]
    tails = [*[v.shape[1:]] * 2, (machines, 4), (3,), (4,)]
    _LOOP.run("sums", [v, pull, setting, shape, start], tails, [made], machines)
    return made
