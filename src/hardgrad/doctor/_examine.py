"""The doctor's examination of a black box, before a gradient is asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad.doctor.arguments import check_place
from hardgrad.doctor.boxes.advise import advise, identity_cosine, two_point_cosines
from hardgrad.doctor.boxes.asked import SMALL, Asked, Row, as_tensor
from hardgrad.doctor.boxes.report import BoxReport
from hardgrad.doctor.boxes.same import Read, applied, repeats, rows_apart, threads
from hardgrad.doctor.boxes.signals import chunks as ask_chunks
from hardgrad.doctor.boxes.signals import delay, signal_of
from hardgrad.doctor.boxes.stairs import STEPS, scales
from hardgrad.doctor.randomness import master_seed
from hardgrad.user_code import name_of

_LONG = 4096  # samples from which users cut signals


def examine(
    box: Callable[..., Any],
    *x: Any,
    low: Any = None,
    high: Any = None,
    chunks: bool | None = None,
    read: Read | None = None,
    factory: Callable[[], Callable[..., Any]] | None = None,
    seconds: float = 30.0,
    generator: torch.Generator | None = None,
) -> BoxReport:
    r"""Return what a black box is like: what spoils a gradient through it, and the ``scale`` of each input.

    It is asked the same twice, A after B, alone and in other batches, each number at both ends of its range, noise,
    whole signals and their halves. Along the range of each number a difference over 2 s is held against its average
    over the points within s; the least s at which both are alike is the scale: as wide as the stairs, if there are any.

    Args:
        box: an ``hg.BlackBox``, or any callable of the inputs, batch first; it gets tensors, or NumPy arrays if ``x``
            are arrays. It is used as it is: one that counts its calls has counted more.
        x: one or several real inputs, each of shape ``(B, *)``.
        low: the least that each number may be, broadcast to a row of x; for several inputs a tuple, with None for one
            that has no bound. By default the box's own, else the least in x.
        high: the most.
        chunks: whether to ask for a signal in two halves of its last dimension; None does from 4096 samples on.
        read: returns what the box holds of each number of the last input, to see whether they were set.
        factory: makes another box, to see whether two run at once in threads.
        seconds: what it may take, roughly; questions that did not fit are named in ``left_out``.
        generator: its next number seeds everything; torch's global state by default, which is not moved on.

    Returns:
        A ``BoxReport``; ``print`` shows the findings, the scale, the advice and the line to use.

    Raises:
        ValueError: if the box raises for ``x``, or does not return one output for each row, or an argument is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> found = hg.doctor.examine(lambda x: torch.floor(8 * x).sum(1) / 8, torch.rand(4, 3), low=0, high=1)
        >>> [(finding.kind, finding.value) for finding in found.findings]
        [('stairs', 0.125), ('stairs', 0.125), ('stairs', 0.125)]
        >>> print(found.code)
        layer = hg.perturb(box, 0.125, directions="coordinates")
    """
    _check.function("examine", "box", box, "of one or several batches")
    if getattr(box, "cache", 0):
        raise ValueError(
            f"examine: box must have no cache, got {box!r}; the cache would answer, so make one with cache=0"
        )
    _check.number("examine", "seconds", seconds, above=0, cure="30 will do for most")
    _check.generator("examine", generator)
    if chunks is not None:
        _check.flag("examine", "chunks", chunks)
    for name, function in (("read", read), ("factory", factory)):
        if function is not None:
            _check.function("examine", name, function, "of no arguments")
    inputs = _batches(x)
    lows, highs = _ranges(
        inputs, *(getattr(box, n, None) if g is None else g for n, g in (("low", low), ("high", high)))
    )
    deadline, seed = time.perf_counter() + seconds, master_seed(generator)
    asked = Asked(box, inputs, lows, highs, not any(isinstance(value, Tensor) for value in x), deadline, seed)
    try:
        out = asked(*inputs)
    except Exception as error:  # of the user's program
        if str(error).startswith("examine: "):
            raise
        raise ValueError(f"examine: box raises for the x given, {type(error).__name__}: {error}") from error
    return _report(asked, out, chunks, read, factory)


def _report(asked: Asked, out: Tensor, chunks: bool | None, read: Read | None, factory: Any) -> BoxReport:
    asked.ask("the same twice", repeats, otherwise=None)
    if asked.kind != "unseeded":
        asked.ask("rows alone", rows_apart, otherwise=None)
    which, lag = signal_of(asked, out), None
    if which is not None:
        lag = asked.ask("delay", delay, which, otherwise=None)
        if chunks or (chunks is None and asked.inputs[which].shape[-1] >= _LONG):
            asked.ask("chunks", ask_chunks, which, otherwise=None)
    asked.ask("each number applied", applied, read, otherwise=None)
    each = [_of_input(asked, k, out, lag) for k in range(len(asked.inputs))]
    scale: Row = tuple(numbers for numbers, _ in each)
    cosines = tuple(found for _, found in each)
    if not bool(out.isfinite().all()):
        asked.find("nan", "the output is NaN or infinite for the x given")
    gain = asked.ask("threads", threads, factory, otherwise="") if factory else ""
    advice, code = advise(asked, scale, cosines, lag)
    name = repr(asked.box) if isinstance(asked.box, nn.Module) else name_of(asked.box)
    return BoxReport(
        box=name if "\n" not in name else name_of(asked.box),
        shapes=tuple(tuple(t.shape) for t in (*asked.inputs, out)),
        findings=tuple(sorted(asked.findings, key=lambda finding: finding.kind == "stairs")),
        scale=scale[0] if len(scale) == 1 else scale,
        delay=lag,
        seconds=asked.row_seconds,
        calls=asked.calls,
        output=(float(out.nan_to_num().min()), float(out.nan_to_num().max())),
        cosines=cosines,
        advice=f"{advice} {gain}".strip(),
        code=code,
        left_out=tuple(asked.left_out),
    )


def _of_input(asked: Asked, which: int, out: Tensor, lag: int | None) -> tuple[Tensor, dict[str, float]]:
    """The scale of an input, and the cosines that gradients have with the truth at that scale."""
    x, found = asked.inputs[which], dict[str, float]()
    if not x.is_floating_point():
        return torch.zeros(x.shape[1:]), found
    scale = asked.ask(
        f"stairs of input {which}", scales, which, otherwise=(asked.high[which] - asked.low[which]) / STEPS
    )
    if x.shape == out.shape:
        cosine = asked.ask("straight-through", identity_cosine, which, scale, lag, otherwise=None)
        found |= {} if cosine is None else {"straight-through": cosine}
    if x[0].numel() <= SMALL:
        both = asked.ask("two-point", two_point_cosines, which, scale, otherwise=list[float]())
        found |= dict(zip(("two-point", "at 1e-4 of the range"), both, strict=False))
    return scale.float(), found


def _batches(x: tuple[Any, ...]) -> Row:
    inputs = tuple(as_tensor("x must be", value) for value in x)
    if not inputs or any(t.ndim < 1 or not t.numel() or len(t) != len(inputs[0]) for t in inputs):
        shapes = ", ".join(str(tuple(t.shape)) for t in inputs) or "none"
        raise ValueError(f"examine: x must be inputs of as many rows, one or more, batch first, got shapes {shapes}")
    check_place("examine", inputs[0])
    if not all(bool(t.isfinite().all()) for t in inputs):
        raise ValueError("examine: x must be finite, got NaN or infinity; give rows as your network would")
    return inputs


def _ranges(inputs: Row, low: Any, high: Any) -> list[Row]:
    """The ends of the range of each number of a row of each input; where none are given, those of its values."""
    ranges = []
    for name, ends in (("low", low), ("high", high)):
        each = ends if isinstance(ends, tuple) else (ends,) * (1 if ends is not None else len(inputs))
        if len(each) != len(inputs):
            raise ValueError(
                f"examine: {name} must be a tuple of one for each of {len(inputs)} inputs, got {len(each)}"
            )
        ranges.append(tuple(_end(name, end, x) for end, x in zip(each, inputs, strict=True)))
    for a, b, x in zip(*ranges, inputs, strict=True):
        if not bool(((a < b) & (b - a).isfinite() & (a <= x.double()) & (x.double() <= b)).all()):
            raise ValueError(
                f"examine: low must be below high and both finite, with x between them, got {a.min():g} to {b.max():g} "
                f"and x from {x.min():g} to {x.max():g}; leave them out to go by x"
            )
    return ranges


def _end(name: str, end: Any, x: Tensor) -> Tensor:
    if end is not None:
        given = as_tensor(f"{name} must be", end).to(x.device, torch.float64)
        try:
            return given.expand(x.shape[1:]).clone()
        except RuntimeError:
            shapes = f"{tuple(x.shape[1:])}, got {tuple(given.shape)}"
            raise ValueError(f"examine: {name} must broadcast to a row of x, {shapes}; give one number") from None
    rows, sign = x.double().reshape(len(x), -1), 1 if name == "high" else -1
    if rows.shape[1] > SMALL or len(x) == 1:  # of one kind, or too few rows to tell
        rows = torch.stack([*rows.aminmax()])[:, None]
    most, spread = (sign * rows).amax(0) * sign, rows.amax(0) - rows.amin(0)
    usual = spread.mean() if bool(spread.any()) else most.abs().mean() + (most.abs().mean() == 0).double()
    most = torch.where(spread > usual / 4, most, most + sign * usual / 2)
    return most.expand(x[0].numel()).reshape(x.shape[1:]).clone()
