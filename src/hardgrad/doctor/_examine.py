"""The doctor's examination of a black box, before any gradient is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.doctor.boxes.advise import advise, identity_cosine, two_point_cosines
from hardgrad.doctor.boxes.applied import Read, applied
from hardgrad.doctor.boxes.asked import SMALL, Asked, OutOfTimeError
from hardgrad.doctor.boxes.report import BoxReport, Finding
from hardgrad.doctor.boxes.same import repeats, rows_apart
from hardgrad.doctor.boxes.signals import chunks as ask_chunks
from hardgrad.doctor.boxes.signals import delay, signal_of
from hardgrad.doctor.boxes.stairs import scales
from hardgrad.doctor.randomness import master_seed
from hardgrad.user_code import name_of

_LONG = 4096  # samples from which users cut signals
_ORDER = ("raises", "nan", "writes", "unapplied", "late", "state", "rows", "random", "delay", "stairs", "chunks")


def examine(
    box: Callable[..., Any],
    *x: Any,
    low: Any = None,
    high: Any = None,
    chunks: bool | None = None,
    read: Read | None = None,
    seconds: float = 30.0,
    generator: torch.Generator | None = None,
) -> BoxReport:
    r"""Return what a black box is like: what spoils a gradient through it, and the ``scale`` of each input.

    The box is asked the same twice, A after B, alone and in other batches, each number at both ends of its range,
    noise, whole signals and their halves. Along the range of each number a difference over 2 s is held against its
    average over the points within s; the least s at which both are alike is the scale: the width of the stairs, if
    there are any.

    Args:
        box: an ``hg.BlackBox``, or any callable of the inputs, batch first; it gets tensors, or NumPy arrays if ``x``
            are arrays. It is used as it is, so one that counts its calls has counted more.
        x: one or several real inputs, each of shape (B, *).
        low: the least each number may be, broadcast to a row of x; a tuple for several inputs, None in it for one that
            has none. By default the box's own, else the least in x.
        high: the most.
        chunks: whether to ask for a signal in two halves along its last dimension; None does for 4096 samples or more.
        read: returns what the box holds of each number of the last input, to see whether they were set.
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
        layer = hg.perturb(box, scale=0.125, directions="coordinates")
    """
    _check.function("examine", "box", box, "of one or several batches")
    _check.number("examine", "seconds", seconds, above=0, cure="30 will do for most")
    _check.generator("examine", generator)
    arrays = bool(x) and not isinstance(x[0], Tensor)
    inputs = tuple(_batch(value) for value in x)
    if not inputs or len({len(value) for value in inputs}) > 1:
        sizes = ", ".join(str(len(value)) for value in inputs) or "none"
        raise ValueError(
            f"examine: x must be one or several inputs of as many rows each, got rows: {sizes}; batch first"
        )
    lows = _ends("low", low if low is not None else getattr(box, "low", None), inputs, -1)
    highs = _ends("high", high if high is not None else getattr(box, "high", None), inputs, 1)
    asked = Asked(box, inputs, lows, highs, arrays, seconds, master_seed(generator))
    try:
        first = asked(*inputs)
    except Exception as error:  # of the user's program
        raise ValueError(f"examine: box raises for the x given, {type(error).__name__}: {error}") from error
    return _Examination(asked, first, name_of(box)).report(chunks, read)


class _Examination:
    """The questions one after another, those left out that there is no time for."""

    def __init__(self, asked: Asked, first: Tensor, name: str) -> None:
        self.asked, self.first, self.name = asked, first, name
        self.findings: list[Finding] = []
        self.left_out: list[str] = []

    def ask(self, name: str, question: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return question()
        except OutOfTimeError:
            self.left_out.append(f"{name} (no time left)")
        except Exception as error:  # of the user's program, at inputs that the user did not give
            self.left_out.append(f"{name} ({type(error).__name__}: {error})")
        return otherwise

    def report(self, chunks: bool | None, read: Read | None) -> BoxReport:
        asked = self.asked
        self.findings += self.ask("the same twice", lambda: repeats(asked), [])
        kinds = {finding.kind for finding in self.findings}
        unseeded = any("no seed" in finding.sentence for finding in self.findings)
        self.findings += self.ask("rows alone", lambda: rows_apart(asked, unseeded, "random" in kinds), [])
        lag = self._signal(chunks)
        self.findings += self.ask("each number applied", lambda: applied(asked, read), [])
        scale = tuple(self._scale(k) for k in range(len(asked.inputs)))
        cosines = tuple(self._cosines(k, scale[k], lag) for k in range(len(asked.inputs)))
        advice, code = advise(asked, scale, cosines, kinds)
        self.findings += asked.findings()
        self.findings.sort(key=lambda finding: _ORDER.index(finding.kind))
        finite = self.first[self.first.isfinite()]
        least, most = (float(finite.min()), float(finite.max())) if finite.numel() else (math.nan, math.nan)
        if not bool(self.first.isfinite().all()):
            self.findings.insert(0, Finding("nan", "the output is NaN or infinite for the x given"))
        named = {
            f"{name}{f' (input {k})' if len(cosines) > 1 else ''}": value
            for k, each in enumerate(cosines)
            for name, value in each.items()
        }
        return BoxReport(
            self.name,
            (*(tuple(x.shape) for x in asked.inputs), tuple(self.first.shape)),
            tuple(self.findings),
            scale if len(scale) > 1 else scale[0],
            lag,
            asked.row_seconds,
            asked.calls,
            least,
            most,
            named,
            advice,
            code,
            tuple(self.left_out),
        )

    def _signal(self, chunks: bool | None) -> int | None:
        asked, which = self.asked, signal_of(self.asked, self.first)
        if which is None:
            return None
        lag, found = self.ask("delay", lambda: delay(asked, which), (None, []))
        self.findings += found
        if chunks or (chunks is None and asked.inputs[which].shape[-1] >= _LONG):
            self.findings += self.ask("chunks", lambda: ask_chunks(asked, which), [])
        return lag  # type: ignore[no-any-return]

    def _scale(self, which: int) -> Tensor:
        x = self.asked.inputs[which]
        if not x.is_floating_point():
            return torch.zeros(x.shape[1:])
        usual = (self.asked.high[which] - self.asked.low[which]) / 64
        scale, found = self.ask(f"stairs of input {which}", lambda: scales(self.asked, which), (usual, []))
        self.findings += found
        return scale  # type: ignore[no-any-return]

    def _cosines(self, which: int, scale: Tensor, lag: int | None) -> dict[str, float]:
        asked, x, found = self.asked, self.asked.inputs[which], dict[str, float]()
        if x.is_floating_point() and x.shape == self.first.shape:
            cosine = self.ask("straight-through", lambda: identity_cosine(asked, which, scale, lag), None)
            found |= {} if cosine is None else {"straight-through": cosine}
        if x.is_floating_point() and x[0].numel() <= SMALL // 2:
            found |= self.ask("two-point", lambda: two_point_cosines(asked, which, scale), {})
        return found


def _batch(value: Any) -> Tensor:
    x = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
    if x.ndim < 1 or not x.numel():
        raise ValueError(f"examine: x must be a batch with at least one row, got shape {tuple(x.shape)}; batch first")
    return x


def _ends(name: str, given: Any, inputs: tuple[Tensor, ...], sign: int) -> tuple[Tensor, ...]:
    """The ends of the range of each number of each input; where none are given, those of its values."""
    each = given if isinstance(given, tuple) else (given,) * (len(inputs) if given is None else 1)
    if len(each) != len(inputs):
        raise ValueError(f"examine: {name} must be a tuple of one for each of {len(inputs)} inputs, got {len(each)}")
    return tuple(_end(end, x, sign) for end, x in zip(each, inputs, strict=True))


def _end(end: Any, x: Tensor, sign: int) -> Tensor:
    if end is not None:
        return torch.as_tensor(end, dtype=torch.float64, device=x.device).expand(x.shape[1:])
    x = x.double()
    if x[0].numel() > SMALL or len(x) == 1:  # of one kind, or too few to tell
        most = x.max() if sign > 0 else x.min()
        spread = x.max() - x.min()
    else:
        most = x.amax(0) if sign > 0 else x.amin(0)
        spread = x.amax(0) - x.amin(0)
    typical = spread.mean() if float(spread.mean()) > 0 else x.abs().mean().clamp(min=1.0)
    return torch.where(spread > typical / 4, most, most + sign * typical / 2).expand(x.shape[1:])
