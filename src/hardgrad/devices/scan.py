r"""One pole whose coefficient is chosen by an IF, along time: value, and the exact gradient in one pass back.

.. math:: y_t = y_{t-1} + c_t (x_t - y_{t-1}), \qquad
    c_t = \text{attack where } x_t > y_{t-1}, \text{ else release}

A row is a chain in which each step waits for the one before, so a processor takes eight rows in the time of one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._torch_state import exporting, in_forward_mode
from hardgrad._tracing import constant_in_graph, prepare_transform, whole_in_graph
from hardgrad.devices.loops import Loop, Once, OverRows, operator, toward

_SOURCE = r"""
#ifdef __CUDACC__
#define ROWS(SOME) EACH(i, rows) SOME(1)
#else
#define ROWS(SOME) whole i = 0; for (; i + 8 <= rows; i += 8) SOME(8) for (; i + 2 <= rows; i += 2) SOME(2) \
    for (; i < rows; i++) SOME(1)
#endif
#define FOR_ROWS for (int j = 0; j < rows; j++)

STEP void follow(in x, in attack, in release, in start, out y, whole samples, const int rows) {
    double a[8], r[8], now[8];
    FOR_ROWS { a[j] = attack[j]; r[j] = release[j]; now[j] = start[j]; }
    for (whole t = 0; t < samples; t++) FOR_ROWS {
        double v = x[j * samples + t];
        y[j * samples + t] = now[j] = toward(now[j], v, v - now[j] > 0.0 ? a[j] : r[j]);
    }
}

STEP void back(in grad, in x, in y, in attack, in release, in start, out to_x, out to_attack, out to_release,
               out to_start, whole samples, const int rows) {
    double a[8], r[8], sum_a[8], sum_r[8], carry[8];
    FOR_ROWS { a[j] = attack[j]; r[j] = release[j]; sum_a[j] = sum_r[j] = carry[j] = 0.0; }
    for (whole t = samples - 1; t >= 0; t--) FOR_ROWS {
        double before = t ? y[j * samples + t - 1] : start[j], rise = x[j * samples + t] - before;
        double h = grad[j * samples + t] + carry[j], c = rise > 0.0 ? a[j] : r[j];
        to_x[j * samples + t] = c * h;
        carry[j] = TINY(h) ? 0.0 : (1.0 - c) * h;
        sum_a[j] += rise > 0.0 ? h * rise : 0.0;
        sum_r[j] += rise > 0.0 ? 0.0 : h * rise;
    }
    FOR_ROWS { to_attack[j] = sum_a[j]; to_release[j] = sum_r[j]; to_start[j] = carry[j]; }
}

#define FOLLOW(n) follow(x + i * samples, attack + i, release + i, start + i, y + i * samples, samples, n);
#define BACK(n) back(grad + i * samples, x + i * samples, y + i * samples, attack + i, release + i, start + i, \
                     to_x + i * samples, to_attack + i, to_release + i, to_start + i, samples, n);
ENTRY forward(in x, in attack, in release, in start, out y, count rows, count samples) { ROWS(FOLLOW) }
ENTRY backward(in grad, in x, in y, in attack, in release, in start, out to_x, out to_attack, out to_release,
               out to_start, count rows, count samples) { ROWS(BACK) }
"""


def _follow(x: list[float], attack: float, release: float, now: float) -> tuple[list[float]]:
    y = []
    for value in x:
        now = toward(now, value, attack if value - now > 0.0 else release)
        y.append(now)
    return (y,)


def _back(grad: list[float], x: list[float], y: list[float], attack: float, release: float, start: float) -> Any:
    to_x, sums, carry = [], [0.0, 0.0], 0.0
    for g, value, before in zip(reversed(grad), reversed(x), reversed([start, *y][:-1]), strict=True):
        rise, h = value - before, g + carry
        c = attack if rise > 0.0 else release
        sums[rise <= 0.0 or rise != rise] += h * rise
        to_x.append(c * h)
        carry = 0.0 if -1e-150 < h < 1e-150 else (1.0 - c) * h
    return to_x[::-1], *sums, carry


_LOOP = Loop("ballistics", _SOURCE, {"forward": _follow, "backward": _back})


@operator("ballistics(Tensor x, Tensor attack, Tensor release, Tensor start) -> Tensor")
def _scan(x: Tensor, attack: Tensor, release: Tensor, start: Tensor) -> Tensor:
    y = x.new_empty(x.shape)
    _LOOP.run("forward", [x, attack, release, start], [x.shape[1:], (), (), ()], [y])
    return y


@operator(
    "ballistics_backward(Tensor grad, Tensor x, Tensor y, Tensor attack, Tensor release, Tensor start) -> "
    "(Tensor, Tensor, Tensor, Tensor)"
)
def _scan_back(*given: Tensor) -> tuple[Tensor, ...]:
    made = [each.new_empty(each.shape) for each in (given[1], *given[3:])]
    _LOOP.run("backward", list(given), [*[given[0].shape[1:]] * 3, (), (), ()], made)
    return tuple(made)


@whole_in_graph
class _Scan(OverRows):
    @staticmethod
    def forward(x: Tensor, attack: Tensor, release: Tensor, start: Tensor, owner: str) -> Tensor:
        return cast(Tensor, torch.ops.hardgrad.ballistics(x, attack, release, start))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output, *inputs[1:4])
        ctx.owner = inputs[4]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *cast(Any, _ScanBack).apply(grad, *ctx.saved_tensors, ctx.owner), None


@whole_in_graph
class _ScanBack(Once):
    @staticmethod
    def forward(grad: Tensor, x: Tensor, y: Tensor, a: Tensor, r: Tensor, start: Tensor, owner: str) -> Any:
        return torch.ops.hardgrad.ballistics_backward(grad, x, y, a, r, start)


def ballistics_scan(x: Tensor, attack: Tensor, release: Tensor, start: Tensor, owner: str = "Ballistics") -> Tensor:
    """Return y (n, T), each row followed from its start with its own two coefficients; all in float64.

    A coefficient of 1 is at once: y is x exactly; so is a gap below 1e-150. A NaN stays for the rest of its row, and an
    infinity becomes one.

    Args:
        x: (n, T).
        attack: (n,), the coefficient where x is above y, 0 to 1.
        release: (n,), the coefficient elsewhere.
        start: (n,), y before the first sample.
        owner: the layer, for messages.

    Raises:
        RuntimeError: if its gradient is differentiated again, in forward mode, or in an export to ONNX.
    """
    if in_forward_mode():
        raise RuntimeError(f"{owner}: its derivative runs backward alone, got forward mode; take torch.func.vjp")
    if _to_onnx():
        raise RuntimeError(
            f"{owner}: ONNX has no loop along time that an IF steers; export the model with hardgrad export --to c"
        )
    prepare_transform()
    # One tensor given twice gets half of its gradient in code that torch 2.11 compiled; 2.13 does not.
    release = release.clone() if release is attack else release
    return cast(Tensor, cast(Any, _Scan).apply(x, attack, release, start, owner))


@constant_in_graph
def _to_onnx() -> bool:
    return exporting() and torch.onnx.is_in_onnx_export()


def coefficient(ms: Tensor, sample_rate: float) -> Tensor:
    """Return c = 1 - exp(-1000 / (ms * sample_rate)), 1 for 0 ms, where it has no slope; NaN for a negative time."""
    # Below 1e-6 samples it is 1 to the bit, and its slope 0 to the bit, which torch would compute as inf * 0.
    lasts = ms * sample_rate > 1e-3
    some = -torch.expm1(-1000 / (torch.where(lasts, ms, 1.0) * sample_rate))
    return torch.where(lasts, some, torch.where(ms >= 0, 1.0, torch.nan))


def last(y: Tensor, before: Tensor) -> Tensor:
    """Return a copy of where rows (n, T) end, which is where they began if there is no sample."""
    return (y[:, -1] if y.shape[1] else before).clone()
