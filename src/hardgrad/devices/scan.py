r"""One pole whose coefficient is chosen by an IF, along time: value, and the exact gradient in one pass back.

.. math:: y_t = y_{t-1} + c_t (x_t - y_{t-1}), \qquad
    c_t = \text{attack where } x_t > y_{t-1}, \text{ else release}

A row is a chain, each step waits for the one before; so eight rows go side by side, and more rows cost more only then.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._torch_state import exporting, in_forward_mode
from hardgrad._tracing import constant_in_graph, prepare_transform, whole_in_graph
from hardgrad.devices.native import call, native, on_gpu

_SOURCE = r"""
#ifdef __CUDACC__
#define STEP static __device__ inline
typedef int count;  /* what torch hands over */
#else
#define STEP static inline
typedef long long count;
#endif
typedef long long whole;

STEP void follow(const double *x, const double *attack, const double *release, const double *start, double *y,
                 whole samples, const int rows) {
    double a[8], r[8], now[8];
    for (int j = 0; j < rows; j++) { a[j] = attack[j]; r[j] = release[j]; now[j] = start[j]; }
    for (whole t = 0; t < samples; t++)
        for (int j = 0; j < rows; j++) {
            double in = x[j * samples + t], c = in > now[j] ? a[j] : r[j], next = now[j] + c * (in - now[j]);
            y[j * samples + t] = now[j] = c == 1.0 ? in : next;
        }
}

STEP void back(const double *grad, const double *x, const double *y, const double *attack, const double *release,
               const double *start, double *to_x, double *to_attack, double *to_release, double *to_start,
               whole samples, const int rows) {
    double a[8], r[8], sum_a[8], sum_r[8], carry[8];
    for (int j = 0; j < rows; j++) { a[j] = attack[j]; r[j] = release[j]; sum_a[j] = sum_r[j] = carry[j] = 0.0; }
    for (whole t = samples - 1; t >= 0; t--)
        for (int j = 0; j < rows; j++) {
            double before = t ? y[j * samples + t - 1] : start[j], in = x[j * samples + t];
            double h = grad[j * samples + t] + carry[j], step = h * (in - before);
            int up = in > before;
            double c = up ? a[j] : r[j];
            to_x[j * samples + t] = c * h;
            carry[j] = (1.0 - c) * h;
            sum_a[j] += up ? step : 0.0;
            sum_r[j] += up ? 0.0 : step;
        }
    for (int j = 0; j < rows; j++) { to_attack[j] = sum_a[j]; to_release[j] = sum_r[j]; to_start[j] = carry[j]; }
}

#define FOLLOW(n) follow(x + i * samples, attack + i, release + i, start + i, y + i * samples, samples, n)
#define BACK(n) back(grad + i * samples, x + i * samples, y + i * samples, attack + i, release + i, start + i, \
                     to_x + i * samples, to_attack + i, to_release + i, to_start + i, samples, n)
#ifdef __CUDACC__
#define ENTRY extern "C" __global__ void
#define ROWS(CALL) whole i = blockIdx.x * (whole)blockDim.x + threadIdx.x; if (i < rows) CALL(1);
#else
#define ENTRY void
#define ROWS(CALL) whole i = 0; for (; i + 8 <= rows; i += 8) CALL(8); for (; i + 4 <= rows; i += 4) CALL(4); \
    for (; i + 2 <= rows; i += 2) CALL(2); for (; i < rows; i++) CALL(1);
#endif
ENTRY forward(const double *x, const double *attack, const double *release, const double *start, double *y,
              count rows, count samples) { ROWS(FOLLOW) }
ENTRY backward(const double *grad, const double *x, const double *y, const double *attack, const double *release,
               const double *start, double *to_x, double *to_attack, double *to_release, double *to_start,
               count rows, count samples) { ROWS(BACK) }
"""


def _scan(x: Tensor, attack: Tensor, release: Tensor, start: Tensor) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    _run("forward", [x, attack, release, start], [y])
    return y


def _scan_backward(
    grad: Tensor, x: Tensor, y: Tensor, attack: Tensor, release: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    to = tuple(torch.empty_like(each, memory_format=torch.contiguous_format) for each in (x, attack, release, start))
    _run("backward", [grad, x, y, attack, release, start], list(to))
    return cast(tuple[Tensor, Tensor, Tensor, Tensor], to)


def _run(name: str, given: list[Tensor], made: list[Tensor]) -> None:
    """Fill ``made`` from ``given``, whose first tensor is (rows, samples)."""
    rows, samples = given[0].shape
    given = [each.contiguous() for each in given]
    kernel = on_gpu(_SOURCE, name, given[0].device) if given[0].is_cuda else None
    if kernel is not None:
        kernel(grid=(-(-rows // 32), 1, 1), block=(32, 1, 1), args=[*given, *made, rows, samples])
    elif given[0].device.type != "cpu":
        aside = [torch.empty_like(each, device="cpu") for each in made]
        _run(name, [each.cpu() for each in given], aside)
        for each, there in zip(made, aside, strict=True):
            each.copy_(there)
    elif (library := native(_SOURCE, "ballistics")) is not None:
        call(getattr(library, name), *given, *made, rows, samples)
    else:
        one_row = _follow if name == "forward" else _back
        for found in zip(*(one_row(*row) for row in zip(*(each.tolist() for each in given), strict=True)), strict=True):
            made.pop(0).copy_(torch.tensor(found, dtype=torch.float64))


def _follow(x: list[float], attack: float, release: float, now: float) -> tuple[list[float]]:
    """The C text in Python's floats, one row."""
    y = []
    for value in x:
        c = attack if value > now else release
        now = value if c == 1.0 else now + c * (value - now)
        y.append(now)
    return (y,)


def _back(
    grad: list[float], x: list[float], y: list[float], attack: float, release: float, start: float
) -> tuple[list[float], float, float, float]:
    to_x, to_attack, to_release, carry = [], 0.0, 0.0, 0.0
    for g, value, before in zip(reversed(grad), reversed(x), reversed([start, *y][:-1]), strict=True):
        h = g + carry
        if value > before:
            c = attack
            to_attack += h * (value - before)
        else:
            c = release
            to_release += h * (value - before)
        to_x.append(c * h)
        carry = (1.0 - c) * h
    return to_x[::-1], to_attack, to_release, carry


def _like_x(x: Tensor, attack: Tensor, release: Tensor, start: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _like_all(
    grad: Tensor, x: Tensor, y: Tensor, attack: Tensor, release: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        _like_x(x, attack, release, start),
        torch.empty_like(attack),
        torch.empty_like(release),
        torch.empty_like(start),
    )


# One node of a compiled or exported graph each. By hand, as ``no_gradient`` says.
_library = torch.library.Library("hardgrad", "FRAGMENT")
_library.define("ballistics(Tensor x, Tensor attack, Tensor release, Tensor start) -> Tensor")
_library.define(
    "ballistics_backward(Tensor grad, Tensor x, Tensor y, Tensor attack, Tensor release, Tensor start) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)
for _name, _function, _fake in (
    ("ballistics", _scan, _like_x),
    ("ballistics_backward", _scan_backward, _like_all),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"hardgrad::{_name}", _fake, lib=_library)


Found = tuple[Tensor, Tensor, Tensor, Tensor]


def _together(operator: Any, info: Any, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> Any:
    """Call for all samples of a vmap at once: they are rows, too."""
    *tensors, owner = inputs
    pairs = zip(tensors, in_dims, strict=False)
    each = [x.expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0) for x, at in pairs]
    made = operator.apply(*(x.flatten(0, 1) for x in each), owner)
    shape = each[0].shape[:2]
    return made.unflatten(0, shape) if isinstance(made, Tensor) else tuple(x.unflatten(0, shape) for x in made)


@whole_in_graph
class _Scan(torch.autograd.Function):
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

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _together(_Scan, info, in_dims, inputs), 0


@whole_in_graph
class _ScanBack(torch.autograd.Function):
    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, y: Tensor, attack: Tensor, release: Tensor, start: Tensor, owner: str
    ) -> Found:
        return cast(Found, torch.ops.hardgrad.ballistics_backward(grad, x, y, attack, release, start))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Found) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.owner = inputs[6]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if type(grads[0]) is Tensor:
            raise RuntimeError(f"{ctx.owner}: {_FIRST_ALONE}, so it cannot be differentiated again")
        # A compiler asks what nobody may want: that is no number, and what wants one sees it.
        return *(torch.full_like(each, torch.nan) for each in ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _together(_ScanBack, info, in_dims, inputs), (0, 0, 0, 0)


def ballistics_scan(x: Tensor, attack: Tensor, release: Tensor, start: Tensor, owner: str = "Ballistics") -> Tensor:
    """Return y (n, T), each row followed from its start with its own two coefficients.

    A coefficient of 1 is at once: y is x exactly. A NaN stays for the rest of its row, and an infinity becomes one.

    Args:
        x: (n, T), float64, as all.
        attack: (n,), the coefficient where x is above y, 0 to 1.
        release: (n,), the coefficient elsewhere.
        start: (n,), y before the first sample.
        owner: the layer, for messages.

    Raises:
        RuntimeError: if its gradient is differentiated again, in forward mode, or in an export to ONNX.
    """
    refuse_graphs(owner)
    prepare_transform()
    return cast(Tensor, cast(Any, _Scan).apply(x, attack, release, start, owner))


def refuse_graphs(owner: str) -> None:
    """Raise where a loop along time has no form: in forward mode, and in an export to ONNX."""
    if in_forward_mode():
        raise RuntimeError(f"{owner}: its derivative runs backward alone, got forward mode; take torch.func.vjp")
    if _to_onnx():
        raise RuntimeError(
            f"{owner}: ONNX has no loop along time that an IF steers; export the model with hardgrad export --to c"
        )


@constant_in_graph
def _to_onnx() -> bool:
    return exporting() and torch.onnx.is_in_onnx_export()


_FIRST_ALONE = "its gradient is that of the branches that were taken, computed once"


def coefficient(ms: Tensor, sample_rate: float) -> Tensor:
    """Return c = 1 - exp(-1000 / (ms * sample_rate)), 1 for 0 ms, where it has no slope; NaN for a negative time."""
    known = torch.where(ms > 0, ms, 1.0)
    return torch.where(ms > 0, -torch.expm1(-1000 / (known * sample_rate)), torch.where(ms == 0, 1.0, torch.nan))
