r"""One pole whose coefficient is chosen by an IF, along time: value, and the exact gradient in one pass back.

.. math:: y_t = y_{t-1} + c_t (x_t - y_{t-1}), \qquad
    c_t = \text{attack where } x_t > y_{t-1}, \text{ else release}

A row is a chain in which each step waits for the one before, so a processor takes eight rows in the time of one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._torch_state import exporting, has_numbers, in_forward_mode
from hardgrad._tracing import constant_in_graph, prepare_transform, whole_in_graph
from hardgrad.devices.native import call, native, on_gpu

_SOURCE = r"""
typedef long long whole;
#ifdef __CUDACC__
typedef int count; /* what torch hands over */
#define STEP static __device__ inline void
#define ENTRY extern "C" __global__ void
#define ROWS(ONE) whole i = blockIdx.x * (whole)blockDim.x + threadIdx.x; if (i < rows) ONE(1)
#else
#include <math.h>
typedef whole count;
#define STEP static inline void
#define ENTRY void
#define ROWS(SOME) whole i = 0; for (; i + 8 <= rows; i += 8) SOME(8) for (; i + 2 <= rows; i += 2) SOME(2) \
    for (; i < rows; i++) SOME(1)
#endif
/* Below that nothing is heard, and what decays on would be subnormal at last, twenty times slower: its end is 0. */
#define TINY(v) (fabs(v) < 1e-150)
#define FOR_ROWS for (int j = 0; j < rows; j++)
typedef const double *in;
typedef double *out;

STEP follow(in x, in attack, in release, in start, out y, whole samples, const int rows) {
    double a[8], r[8], now[8];
    FOR_ROWS { a[j] = attack[j]; r[j] = release[j]; now[j] = start[j]; }
    for (whole t = 0; t < samples; t++) FOR_ROWS {
        double v = x[j * samples + t], rise = v - now[j], c = rise > 0.0 ? a[j] : r[j], next = now[j] + c * rise;
        y[j * samples + t] = now[j] = (c == 1.0) | TINY(rise) ? v : next;
    }
}

STEP back(in grad, in x, in y, in attack, in release, in start, out to_x, out to_attack, out to_release, out to_start,
          whole samples, const int rows) {
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
    """The C text in Python's floats, one row."""
    y = []
    for value in x:
        rise = value - now
        c = attack if rise > 0.0 else release
        now = value if c == 1.0 or -1e-150 < rise < 1e-150 else now + c * rise
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


def _run(name: str, given: list[Tensor], like: list[Tensor]) -> tuple[Tensor, ...]:
    """Return what a loop makes of ``given``, whose first tensor is (rows, samples): tensors ``like`` these."""
    if any(each.dtype != torch.float64 or each.shape[:1] != given[0].shape[:1] for each in given):
        shapes = ", ".join(f"{each.dtype} {tuple(each.shape)}" for each in given)
        raise ValueError(f"ballistics_scan: all tensors must be float64 and have x's rows, got {shapes}; expand them")
    made = tuple(torch.empty_like(each, memory_format=torch.contiguous_format) for each in like)
    if not (has_numbers(given[0]) and len(given[0])):
        return made
    given, shape = [each.contiguous() for each in given], given[0].shape
    if given[0].is_cuda and (kernel := on_gpu(_SOURCE, name, given[0].device)) is not None:
        with torch.cuda.device(given[0].device):
            kernel(grid=(-(-shape[0] // 32), 1, 1), block=(32, 1, 1), args=[*given, *made, *shape])
    elif given[0].device.type != "cpu":
        for each, there in zip(made, _run(name, [g.cpu() for g in given], [m.cpu() for m in made]), strict=True):
            each.copy_(there)
    elif (library := native(_SOURCE, "ballistics")) is not None:
        call(getattr(library, name), *given, *made, *shape)
    else:
        row = _follow if name == "forward" else _back
        for number, values in enumerate(zip(*(each.tolist() for each in given), strict=True)):
            for each, found in zip(made, row(*values), strict=True):
                each[number] = torch.tensor(found, dtype=torch.float64)
    return made


def _scan(x: Tensor, attack: Tensor, release: Tensor, start: Tensor) -> Tensor:
    return _run("forward", [x, attack, release, start], [x])[0]


def _scan_back(
    grad: Tensor, x: Tensor, y: Tensor, attack: Tensor, release: Tensor, start: Tensor
) -> tuple[Tensor, ...]:
    return _run("backward", [grad, x, y, attack, release, start], [x, attack, release, start])


# One node of a compiled or exported graph each. By hand, as ``no_gradient`` says.
_library = torch.library.Library("hardgrad", "FRAGMENT")
_ROWS = "Tensor attack, Tensor release, Tensor start"
for _name, _form, _function in (
    ("ballistics", f"Tensor x, {_ROWS}) -> Tensor", _scan),
    (
        "ballistics_backward",
        f"Tensor grad, Tensor x, Tensor y, {_ROWS}) -> (Tensor, Tensor, Tensor, Tensor)",
        _scan_back,
    ),
):
    _library.define(f"{_name}({_form}")
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"hardgrad::{_name}", _function, lib=_library)


def _together(function: Any, info: Any, in_dims: Any, inputs: Any) -> tuple[Tensor, ...]:
    """Call for all samples of a vmap at once: they are rows, too."""
    *tensors, owner = inputs
    pairs = zip(tensors, in_dims, strict=False)
    each = [x.expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0) for x, at in pairs]
    made = function.apply(*(x.flatten(0, 1) for x in each), owner)
    return tuple(x.unflatten(0, each[0].shape[:2]) for x in made)


@whole_in_graph
class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, attack: Tensor, release: Tensor, start: Tensor, owner: str) -> tuple[Tensor]:
        return (torch.ops.hardgrad.ballistics(x, attack, release, start),)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor]) -> None:
        ctx.save_for_backward(inputs[0], *output, *inputs[1:4])
        ctx.owner = inputs[4]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *cast(Any, _ScanBack).apply(grad, *ctx.saved_tensors, ctx.owner), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _together(_Scan, info, in_dims, inputs), (0,)


@whole_in_graph
class _ScanBack(torch.autograd.Function):
    @staticmethod
    def forward(grad: Tensor, x: Tensor, y: Tensor, a: Tensor, r: Tensor, start: Tensor, owner: str) -> Any:
        return torch.ops.hardgrad.ballistics_backward(grad, x, y, a, r, start)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.owner = inputs[6]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if type(grads[0]) is Tensor:
            raise RuntimeError(f"{ctx.owner}: its gradient cannot be differentiated again, since it is computed once")
        # A compiler asks what nobody may want: that is no number, and what wants one sees it.
        return *(torch.full_like(each, torch.nan) for each in ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _together(_ScanBack, info, in_dims, inputs), (0, 0, 0, 0)


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
    return cast(Tensor, cast(Any, _Scan).apply(x, attack, release, start, owner)[0])


@constant_in_graph
def _to_onnx() -> bool:
    return exporting() and torch.onnx.is_in_onnx_export()


def coefficient(ms: Tensor, sample_rate: float) -> Tensor:
    """Return c = 1 - exp(-1000 / (ms * sample_rate)), 1 for 0 ms, where it has no slope; NaN for a negative time."""
    known = torch.where(ms > 0, ms, 1.0)
    return torch.where(ms > 0, -torch.expm1(-1000 / (known * sample_rate)), torch.where(ms == 0, 1.0, torch.nan))
