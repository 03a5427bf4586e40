"""Knobs of audio programs, numbers in 0..1, and the box that such a program becomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

import hardgrad as hg
from hardgrad import _check

Array: TypeAlias = "npt.NDArray[np.float32]"
NO_KNOBS: Array = np.zeros(0, np.float32)
_UNITS = {"db": "dB", "hz": "Hz", "ms": "ms", "seconds": "s", "rate": "Hz", "semitones": "semitones"}


class Parameter(NamedTuple):
    """One knob: 0 is ``low``, 1 is ``high``; "log" has equal ratios, "linear" equal steps, "whole" whole numbers."""

    name: str
    low: float
    high: float
    unit: str = ""
    scale: str = "linear"

    def value(self, knob: float) -> float:
        """Return the value of a knob, in the parameter's unit."""
        value = self.low + (self.high - self.low) * knob
        value = self.low * (self.high / self.low) ** knob if self.scale == "log" else value
        return min(max(round(value) if self.scale == "whole" else value, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a factory of rows is made of. It has ``known()``, what can be set, and ``latency()`` in samples."""

    what: str
    rate: Any
    fixed: dict[str, Any]
    parameters: tuple[Parameter, ...] = ()

    @property
    def __name__(self) -> str:  # what errors of the box call it
        return self.what.rsplit("/", 1)[-1]


class AudioBox(hg.BlackBox):
    """An audio program as a layer: ``knobs`` says what its second input is, ``latency`` what was taken out."""

    def __init__(self, owner: str, program: Any, asked: Iterable[Any] | None, options: dict[str, Any]) -> None:
        program = replace(program, parameters=_read(owner, asked, program.known(), program.fixed))
        bounds: Any = ((None, 0.0), (None, 1.0)) if program.parameters else (None, None)
        super().__init__(factory=program, low=bounds[0], high=bounds[1], **options)
        self.knobs, self.sample_rate, self.host = program.parameters, program.rate, program

    @property
    def latency(self) -> int:
        """How many samples late the program says it is."""
        return int(self.host.latency())


def natural(unit: str, low: float) -> str:
    """Return the scale of a range that has none: frequencies and times above 0 are heard by their ratio."""
    return "log" if unit in ("Hz", "ms", "s") and low > 0 else "linear"


def unit_of(name: str) -> str:
    """Return the unit that ends a name such as threshold_db, or nothing."""
    return _UNITS.get(name.rsplit("_", 1)[-1], "")


def _read(owner: str, asked: Any, known: dict[str, Parameter | None], fixed: dict[str, Any]) -> tuple[Parameter, ...]:
    """Return the parameters that a user asked for, each held against what the program has."""
    for name in fixed:
        _check.one_of(owner, "a name in fixed", name, list(known))
    found: dict[str, Parameter] = {}
    for item in [name for name, p in known.items() if p and name not in fixed] if asked is None else asked:
        name, *rest = (item,) if isinstance(item, str) else item
        _check.one_of(owner, "a parameter's name", name, list(known))
        old = known[name]
        if name in {**found, **fixed} or len(rest) not in (0, 2, 3) or not (rest or old):
            rule = f"must be named once, as ({name!r}, low, high) or with 'log', 'linear' or 'whole' after that"
            raise ValueError(f"{owner}: parameter {name!r} {rule}, got {item!r}; it has {old or 'no known range'}")
        if rest:
            low = _check.number(owner, f"low of {name!r}", rest[0])
            unit = old.unit if old else unit_of(name)
            scale = rest[2] if rest[2:] else old.scale if old else natural(unit, low)
            scale = "linear" if not rest[2:] and low <= 0 and scale == "log" else scale
            _check.one_of(owner, f"scale of {name!r}", scale, ("linear", "log", "whole"))
            _check.number(owner, f"low of {name!r}", low, above=0 if scale == "log" else None)
            old = Parameter(name, low, _check.number(owner, f"high of {name!r}", rest[1], above=low), unit, scale)
        found[name] = cast(Parameter, old)
    return tuple(found.values())


def values(parameters: tuple[Parameter, ...], signal: Array, knobs: Array) -> dict[str, float]:
    """Return the values of one row's knobs, or raise unless the row can be played."""
    if signal.ndim != 2 or not np.isfinite(signal).all():
        got = f"rows of shape {signal.shape}" if signal.ndim != 2 else "nan or inf, which stays in filters to the end"
        raise ValueError(f"signal must be (batch, channels, samples) and finite, got {got}")
    if knobs.shape != (len(parameters),):
        names = ", ".join(p.name for p in parameters)
        raise ValueError(f"knobs must be (batch, {len(parameters)}), got rows of {knobs.shape}; in order: {names}")
    turned = list(zip(parameters, knobs.tolist(), strict=True))
    for parameter, knob in turned:
        if not 0 <= knob <= 1:
            raise ValueError(f"knob {parameter.name!r} must be in 0..1, got {knob}; a sigmoid keeps it there")
    return {parameter.name: parameter.value(knob) for parameter, knob in turned}
