"""LADSPA plug-ins as black boxes, hosted by ctypes: files of plug-ins in C, on Linux mostly in /usr/lib/ladspa."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_float, c_int, c_ulong, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from hardgrad import _check
from hardgrad_lab.audio.parameters import NO_KNOBS, Array, AudioBox, Parameter, Program, values

_OWNER = "hardgrad_lab.audio.ladspa"
_BLOCK = 1024  # samples a call, as a host would: many plug-ins look at their controls once a call
_INPUT, _OUTPUT, _CONTROL, _AUDIO = 1, 2, 4, 8  # of a port; the flags of a hint are those of ladspa.h 1.1
_BELOW, _ABOVE, _TOGGLED, _RATE, _LOG, _WHOLE, _DEFAULT = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x3C0
_SHARES = {0x40: 0.0, 0x80: 0.25, 0xC0: 0.5, 0x100: 0.75, 0x140: 1.0}  # defaults that are a share of the range
_NUMBERS = {0x200: 0.0, 0x240: 1.0, 0x280: 100.0, 0x2C0: 440.0}  # and those that are a number


class Port(NamedTuple):
    """One port of a plug-in; bounds that the file does not give are None."""

    name: str
    kind: int
    low: float | None
    high: float | None
    default: float
    scale: str


def ladspa(
    path: str | Path,
    label: str | None = None,
    parameters: Iterable[Any] | None = None,
    *,
    sample_rate: int,
    fixed: dict[str, float] | None = None,
    **options: Any,
) -> AudioBox:
    """Make a layer of a LADSPA plug-in.

    ``box(signal, knobs)``: signal (batch, channels, samples), knobs (batch, n) in 0..1. Every row gets an instance of
    its own, so a sound in two chunks is not the sound in one. A plug-in of one channel runs once for each channel;
    another wants as many as it has inputs. The delay that a port called latency tells is taken out, and denormal
    numbers are 0 inside, as in any host.

    Args:
        path: the file.
        label: which plug-in of the file; None where it has one.
        parameters: names of control ports, or (name, low, high) in the port's unit, or with "linear", "log" or "whole"
            after that; a port's own scale is what its file says. None: all that the file gives a range.
        sample_rate: samples a second.
        fixed: values of other control ports; the rest has the file's default.
        options: ``workers``, ``timeout`` and ``cache`` of ``hg.BlackBox``. Take a worker for a program that may crash:
            this process would die of it.

    Returns:
        An ``hg.BlackBox`` with ``knobs`` (name, low, high, unit, scale), ``sample_rate`` and ``latency`` in samples.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no LADSPA plug-in, or naming a label or port that it has not, with those that it has.

    Example:
        >>> ladspa("gate.so", parameters=["Threshold (dB)"], sample_rate=44100)
        Traceback (most recent call last):
        FileNotFoundError: hardgrad_lab.audio.ladspa: path must be a file, got gate.so; most are in /usr/lib/ladspa

    Source:
        ladspa.h 1.1, https://www.ladspa.org
    """
    rate = _check.whole(_OWNER, "sample_rate", sample_rate, 1)
    numbers = {name: _check.number(_OWNER, f"fixed[{name!r}]", value) for name, value in (fixed or {}).items()}
    return AudioBox(_OWNER, _Plugin(what=str(path), label=label, rate=rate, fixed=numbers), parameters, options)


def plugins(path: str | Path, sample_rate: int = 44100) -> dict[str, list[Port]]:
    """Return the labels in a LADSPA file, and the ports of each, with bounds in their unit at a sample rate."""
    return {label: _ports(found, sample_rate) for label, found in _descriptors(path).items()}


class _Hint(ctypes.Structure):
    _fields_ = [("flags", c_int), ("low", c_float), ("high", c_float)]


class _Descriptor(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        *[("id", c_ulong), ("label", c_char_p), ("properties", c_int)],
        *[("name", c_char_p), ("maker", c_char_p), ("copyright", c_char_p), ("count", c_ulong)],
        *[("kinds", POINTER(c_int)), ("names", POINTER(c_char_p)), ("hints", POINTER(_Hint)), ("data", c_void_p)],
        ("instantiate", CFUNCTYPE(c_void_p, c_void_p, c_ulong)),
        ("connect_port", CFUNCTYPE(None, c_void_p, c_ulong, c_void_p)),
        ("activate", CFUNCTYPE(None, c_void_p)),
        ("run", CFUNCTYPE(None, c_void_p, c_ulong)),
        *[("run_adding", c_void_p), ("set_run_adding_gain", c_void_p)],
        ("deactivate", CFUNCTYPE(None, c_void_p)),
        ("cleanup", CFUNCTYPE(None, c_void_p)),
    ]


def _descriptors(path: str | Path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{_OWNER}: path must be a file, got {path}; most are in /usr/lib/ladspa")
    try:
        entry: Any = ctypes.CDLL(str(Path(path).resolve())).ladspa_descriptor
    except (OSError, AttributeError) as error:
        raise ValueError(f"{_OWNER}: path must be a LADSPA plug-in for this machine, got {path}: {error}") from None
    entry.argtypes, entry.restype = [c_ulong], POINTER(_Descriptor)
    found: dict[str, Any] = {}
    while pointer := entry(len(found)):
        found[pointer.contents.label.decode("latin-1")] = pointer.contents
    return found


def _ports(plugin: Any, rate: int) -> list[Port]:
    return [
        _port(plugin.names[i].decode("latin-1"), plugin.kinds[i], plugin.hints[i], rate) for i in range(plugin.count)
    ]


def _port(name: str, kind: int, hint: _Hint, rate: int) -> Port:
    factor = rate if hint.flags & _RATE else 1
    low = hint.low * factor if hint.flags & _BELOW else None
    high = hint.high * factor if hint.flags & _ABOVE else None
    low, high = (0.0, 1.0) if hint.flags & _TOGGLED else (low, high)
    scale = "log" if hint.flags & _LOG and low is not None and low > 0 else "linear"
    scale = "whole" if hint.flags & (_TOGGLED | _WHOLE) else scale
    code = hint.flags & _DEFAULT
    if code in _SHARES and low is not None and high is not None:
        return Port(name, kind, low, high, Parameter(name, low, high, "", scale).value(_SHARES[code]), scale)
    value = max(_NUMBERS.get(code, 0.0), -np.inf if low is None else low)
    return Port(name, kind, low, high, min(value, np.inf if high is None else high), scale)


@dataclass(frozen=True, kw_only=True)
class _Plugin(Program):
    """A plug-in of a file."""

    label: str | None

    def __call__(self) -> Any:
        return _Host(self).play

    def known(self) -> dict[str, Parameter | None]:
        return {port.name: _knob(port) for port in _Host(self).ports if port.kind == _INPUT | _CONTROL}

    def latency(self) -> int:
        """Return what the plug-in tells with its knobs in the middle."""
        host = _Host(self)
        silence = np.zeros((len(host.inputs), _BLOCK), np.float32)
        return host.run(silence, {p.name: p.value(0.5) for p in self.parameters})[1]


def _knob(port: Port) -> Parameter | None:
    unit = re.search(r"\((\w+)\)$", port.name)
    if port.low is None or port.high is None or port.low >= port.high:
        return None
    return Parameter(port.name, port.low, port.high, unit[1] if unit else "", port.scale)


class _Host:
    """One plug-in and its ports; an instance lives for one row."""

    def __init__(self, program: _Plugin) -> None:
        found = _descriptors(program.what)
        label = next(iter(found)) if program.label is None and len(found) == 1 else program.label
        _check.one_of(_OWNER, f"label of {program.what}", label, list(found))
        self.program, self.plugin = program, found[label or ""]
        self.ports = _ports(self.plugin, program.rate)
        self.inputs = [i for i, port in enumerate(self.ports) if port.kind == _INPUT | _AUDIO]
        self.outputs = [i for i, port in enumerate(self.ports) if port.kind == _OUTPUT | _AUDIO]
        if not self.inputs or not self.outputs:
            raise ValueError(f"{_OWNER}: label must be of a plug-in with audio in and audio out, got {label!r}")

    def play(self, signal: Array, knobs: Array = NO_KNOBS) -> Array:
        controls = values(self.program.parameters, signal, knobs)
        audio = np.ascontiguousarray(signal, np.float32)
        groups = audio[:, None] if len(self.inputs) == len(self.outputs) == 1 else audio[None]
        if groups.shape[1] != len(self.inputs):
            raise ValueError(f"signal must have {len(self.inputs)} channels for this plug-in, got {len(signal)}")
        # As hosts do: in silence a filter's tail is of numbers so small that the processor takes 30 times as long.
        flushed = bool(np.float32(1e-39) * np.float32(1) == 0)  # torch sets this for a thread, but tells it to nobody
        torch.set_flush_denormal(True)
        try:
            return np.concatenate([self.run(group, controls)[0] for group in groups])
        finally:
            torch.set_flush_denormal(flushed)

    def run(self, audio: Array, controls: dict[str, float]) -> tuple[Array, int]:
        """Return what a new instance makes of (inputs, samples), and how many samples late it says it is."""
        settings = {**self.program.fixed, **controls}
        slots = (c_float * len(self.ports))(*(settings.get(port.name, port.default) for port in self.ports))
        handle = self.plugin.instantiate(ctypes.byref(self.plugin), self.program.rate)
        if not handle:
            raise RuntimeError(f"the plug-in must start at {self.program.rate} Hz, got no instance; try another rate")
        try:
            for i in (i for i, port in enumerate(self.ports) if port.kind & _CONTROL):
                self.plugin.connect_port(handle, i, ctypes.addressof(slots) + 4 * i)
            if self.plugin.activate:
                self.plugin.activate(handle)
            out = self.blocks(handle, audio)
            told = [
                slots[i]
                for i, p in enumerate(self.ports)
                if p.kind & _OUTPUT and p.name.strip("_ ").lower() == "latency"
            ]
            late = round(told[0]) if told else 0
            rest = self.blocks(handle, np.zeros((len(self.inputs), late), np.float32))
            if self.plugin.deactivate:
                self.plugin.deactivate(handle)
        finally:
            self.plugin.cleanup(handle)
        return np.concatenate([out, rest], 1)[:, late:], late

    def blocks(self, handle: int, audio: Array) -> Array:
        """Return what an instance makes of a signal, block by block."""
        ports, samples = self.inputs + self.outputs, audio.shape[1]
        out = np.zeros((len(self.outputs), samples), np.float32)
        # In one place of memory, 64 bytes aligned: where a block lies decides how a compiled loop rounds.
        memory = np.zeros(len(ports) * _BLOCK + 16, np.float32)
        buffer = memory[-memory.ctypes.data % 64 // 4 :][: len(ports) * _BLOCK].reshape(len(ports), _BLOCK)
        for i, row in zip(ports, buffer, strict=True):
            self.plugin.connect_port(handle, i, row.ctypes.data)
        for start in range(0, samples, _BLOCK):
            length = min(_BLOCK, samples - start)
            buffer[: len(self.inputs), :length] = audio[:, start : start + length]
            self.plugin.run(handle, length)
            out[:, start : start + length] = buffer[len(self.inputs) :, :length]
        return out
