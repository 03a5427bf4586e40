"""What the thresholds of a gate learn by: the gain as it is, and the difference between two gates beside it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import hardgrad.devices.gate_machine  # noqa: F401 - the operators
from hardgrad._tracing import prepare_transform, whole_in_graph
from hardgrad.devices.loops import Once, OverRows
from hardgrad.devices.scan import coefficient

# Shares of the band at which two gates are compared: far ones find a threshold, near ones place it.
WIDTHS = (1.0, 0.5, 0.25)
_NEPER = math.log(10) / 20  # the logarithm of a ratio of 1 dB


class How(NamedTuple):
    """How thresholds learn: half the width of the widest average in dB, samples a second, which of the four learn."""

    band: float
    rate: float
    learns: tuple[bool, ...]


def amplitude(db: Tensor) -> Tensor:
    """Return the amplitude of a level; that of -inf is 0."""
    return torch.exp(_NEPER * db)


def machine(values: Tensor, rate: float) -> Tensor:
    """Return what a state machine is set to, for open_db, close_db, hold_ms and detector_ms in (..., 4)."""
    open_db, close_db, hold, detector = values.unbind(-1)
    close_at = amplitude(torch.minimum(close_db, open_db))  # a step that carried it past is held back
    return torch.stack([coefficient(detector, rate), amplitude(open_db), close_at, hold * (rate / 1000)], -1)


def _neighbors(values: Tensor, band: float, learns: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
    """Return the gates beside one, (n, 2 * widths, learners, 4): each with a value moved; and the moves in dB."""
    move = band * torch.tensor([*WIDTHS, *(-width for width in WIDTHS)], dtype=values.dtype, device=values.device)
    moves = move.view(-1, 1, 1) * torch.eye(4, dtype=values.dtype, device=values.device)
    moves = moves[:, [place for place, learn in enumerate(learns) if learn]]
    db, ms = values[:, None, None].split(2, -1)
    return torch.cat([db + moves[..., :2], ms * torch.exp(_NEPER * moves[..., 2:])], -1), move


def _slopes(pull: Tensor, values: Tensor, v: Tensor, shape: Tensor, start: Tensor, how: How) -> Tensor:
    """Return the derivative of the loss, averaged over the band, by each of the four values: (n, 4)."""
    beside, move = _neighbors(values, how.band, how.learns)
    setting = machine(beside, how.rate).flatten(1, 2)
    total = torch.ops.hardgrad.gate_sums(v, pull, setting, shape, start).view(beside.shape[:3])
    found = iter((total / move.view(-1, 1)).mean(1).unbind(-1))
    slope = torch.stack([next(found) if learn else torch.zeros_like(values[:, 0]) for learn in how.learns], -1)
    ms = values[:, 2:]
    times = torch.where(ms > 0, slope[:, 2:] / (_NEPER * torch.where(ms > 0, ms, 1.0)), 0.0)  # 0 ms stays 0
    return torch.cat([slope[:, :2], times], 1)


@whole_in_graph
class _Opened(OverRows):
    """At which samples the gate is open, 1 or 0, and the state of its machine: hard, without a gradient."""

    @staticmethod
    def forward(v: Tensor, setting: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        return cast("tuple[Tensor, Tensor]", torch.ops.hardgrad.gate(v, setting, start))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, None, None


@whole_in_graph
class _Flips(OverRows):
    @staticmethod
    def forward(gain: Tensor, values: Tensor, v: Tensor, shape: Tensor, start: Tensor, how: How) -> Tensor:
        return gain.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:5])
        ctx.how = inputs[5]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not ctx.needs_input_grad[1]:
            return grad, *[None] * 5
        return grad, cast(Any, _Slopes).apply(grad, *ctx.saved_tensors, ctx.how, "Gate"), *[None] * 4


@whole_in_graph
class _Slopes(Once):
    @staticmethod
    def forward(pull: Tensor, values: Tensor, v: Tensor, shape: Tensor, start: Tensor, how: How, owner: str) -> Tensor:
        return _slopes(pull, values, v, shape, start, how)


def opened(v: Tensor, setting: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return at which samples gates are open, 1 or 0, and level, open and below at the end.

    Args:
        v: (n, T), magnitudes of what they listen to, float64 as all.
        setting: (n, 4), from ``machine``.
        start: (n, 4), level, open, samples below without a break, and gain, before.

    Returns:
        (n, T) and (n, 3), without a gradient.
    """
    prepare_transform()
    return cast("tuple[Tensor, Tensor]", cast(Any, _Opened).apply(v, setting, start))


def with_flips(gain: Tensor, values: Tensor, v: Tensor, shape: Tensor, start: Tensor, how: How) -> Tensor:
    """Return the gain (n, T) as it is, with a gradient for ``values``.

    Args:
        gain: (n, T).
        values: (n, 4), open_db, close_db, hold_ms, detector_ms.
        v: (n, T), as ``opened``.
        shape: (n, 3), the coefficients of attack and release, the gain of a closed gate.
        start: (n, 4), as ``opened``.
        how: they learn.
    """
    if not any(how.learns):
        return gain
    prepare_transform()
    constants = (each.detach() for each in (v, shape, start))
    return cast(Tensor, cast(Any, _Flips).apply(gain, values, *constants, how))
