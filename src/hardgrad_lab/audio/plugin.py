"""An effect of pedalboard, or a VST3 or Audio Unit file that it hosts, as a black box."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardgrad import _check
from hardgrad_lab.audio.parameters import NO_KNOBS, Array, AudioBox, Parameter, Program, natural, unit_of, values

_OWNER = "hardgrad_lab.audio.plugin"
# What is worth turning: pedalboard knows no ranges. A ratio under 1 would make its gate louder (pedalboard#509).
_RANGES = (
    "threshold_db -60 0, ceiling_db -24 0, drive_db 0 40, gain_db -24 24, drive 1 10, ratio 1 20 log, q 0.1 10 log, "
    "attack_ms 0.1 100, release_ms 10 1000, lookahead_ms 0.1 20, centre_delay_ms 1 30, delay_seconds 0.001 1, "
    "cutoff_frequency_hz 20 18000, cutoff_hz 20 18000, centre_frequency_hz 200 5000, rate_hz 0.1 10, resonance 0 1, "
    "target_sample_rate 2000 44100, bit_depth 1 16, vbr_quality 0 10, semitones -12 12, feedback 0 0.9, depth 0 1, "
    "room_size 0 1, damping 0 1, wet_level 0 1, dry_level 0 1, width 0 1, mix 0 1"
)
_FEWEST = 64  # samples: where there are fewer than channels, pedalboard takes the one dimension for the other


def plugin(
    what: str | Path | type,
    parameters: Iterable[Any] | None = None,
    *,
    sample_rate: float,
    fixed: dict[str, Any] | None = None,
    settle: float = 0.1,
    plugin_name: str | None = None,
    **options: Any,
) -> AudioBox:
    """Make a layer of an effect of pedalboard, or of a VST3 or Audio Unit file.

    ``box(signal, knobs)``: signal (batch, channels, samples), knobs (batch, n) in 0..1. Every row starts from silence,
    so a sound in two chunks is not the sound in one. The delay that a program tells is taken out.

    Args:
        what: the name or class of an effect, "Compressor" say, or the path of a plug-in's file.
        parameters: names, or (name, low, high) in the parameter's unit, or with "linear", "log" or "whole" after that.
            Without that Hz, ms, s, a ratio and a q above 0 are on a log scale, and a parameter of a file is linear in
            its own raw value, whatever curve that has. None: all that have a known range; a file's must be named.
        sample_rate: samples a second.
        fixed: values of other parameters, in their units.
        settle: seconds of silence before each row of a file, in which it glides to its knobs.
        plugin_name: which plug-in of a file that has several.
        options: ``workers``, ``timeout`` and ``cache`` of ``hg.BlackBox``; each worker loads a file for itself.

    Returns:
        An ``hg.BlackBox`` with ``knobs`` (name, low, high, unit, scale), ``sample_rate`` and ``latency`` in samples.

    Raises:
        ImportError: if pedalboard is not installed, or a file cannot be loaded.
        ValueError: naming what the program has not, and what it has.

    Example:
        >>> import torch
        >>> box = plugin("Compressor", ["threshold_db", ("ratio", 1, 8)], sample_rate=44100)
        >>> box(torch.ones(2, 1, 100), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))[:, 0, -1]
        tensor([1.0000, 0.0024])

    Source:
        pedalboard, Spotify, GPL-3, https://github.com/spotify/pedalboard
    """
    rate = _check.number(_OWNER, "sample_rate", sample_rate, above=0)
    quiet = np.zeros((1, round(rate * _check.number(_OWNER, "settle", settle, least=0))), np.float32)
    fixed = dict(fixed or {})
    program: Program = _Effect(what=what.__name__ if isinstance(what, type) else str(what), rate=rate, fixed=fixed)
    if isinstance(what, Path) or (isinstance(what, str) and ("/" in what or "." in what)):
        program = _File(what=str(what), rate=rate, fixed=fixed, quiet=quiet, chosen=plugin_name)
        if parameters is None:
            raise ValueError(f"{_OWNER}: parameters must be some of {', '.join(program.known())}, got None; name them")
    return AudioBox(_OWNER, program, parameters, options)


@dataclass(frozen=True, kw_only=True)
class _Effect(Program):
    """An effect of pedalboard's own, whose delay it takes out. Each row has a new one: ``reset`` ends no glide."""

    def __call__(self) -> Any:
        return self._play

    def known(self) -> dict[str, Parameter | None]:
        package = _pedalboard()
        others = (package.ExternalPlugin, package.PluginContainer)
        classes = {name: found for name, found in vars(package).items() if isinstance(found, type)}
        effects = {name for name, c in classes.items() if issubclass(c, package.Plugin) and not issubclass(c, others)}
        names = sorted(effects - {"Plugin", "IIRFilter"})  # which are the bases of others
        _check.one_of(_OWNER, "what, if it is no file's path,", self.what, names)
        effect = type(self._made())
        names = [name for name in dir(effect) if isinstance(getattr(effect, name), property) and name[:3] != "is_"]
        return {**dict.fromkeys(self.fixed), **{name: _range(name, self.rate) for name in names}}

    def latency(self) -> int:
        return 0

    def _made(self) -> Any:
        try:
            return getattr(_pedalboard(), self.what)(**self.fixed)
        except (TypeError, ValueError) as error:
            rule = str(error).split("1. ")[-1].split("\n")[0]
            raise ValueError(f"{_OWNER}: fixed must be what the effect takes, got {self.fixed}: {rule}") from None

    def _play(self, signal: Array, knobs: Array = NO_KNOBS) -> Array:
        effect = self._made()
        for name, value in values(self.parameters, signal, knobs).items():
            setattr(effect, name, value)
            _took(name, value, getattr(effect, name), 1e-6 * max(1.0, abs(value)))
        return _played(effect, signal, self.rate)


@dataclass(frozen=True, kw_only=True)
class _File(Program):
    """A file that pedalboard loads: one instance in each process, set by raw values, which are read back."""

    quiet: Array
    chosen: str | None

    def __call__(self) -> Any:
        program = self._loaded()
        own = [program.parameters[name] for name in [*(p.name for p in self.parameters), *self.fixed]]
        turns = [_turn(found, parameter) for found, parameter in zip(own, self.parameters, strict=False)]
        still = [program.parameters[name].get_raw_value_for(value) for name, value in self.fixed.items()]

        def play(signal: Array, knobs: Array = NO_KNOBS) -> Array:
            values(self.parameters, signal, knobs)
            raw = [turn(knob) for turn, knob in zip(turns, knobs.tolist(), strict=True)] + still
            for parameter, value in zip(own, raw, strict=True):
                parameter.raw_value = value  # on the parameter: `program.gain.raw_value = x` does nothing, #243
            if signal.size and self.quiet.size:
                _played(program, np.repeat(self.quiet, len(signal), 0), self.rate)
            out = _played(program, signal, self.rate)
            _read_back(own, raw)  # after it: some go back to what they were while they play, #339
            return out

        return play

    def known(self) -> dict[str, Parameter | None]:
        return {
            name: Parameter(name, p.min_value, p.max_value, (p.label or "").strip())
            if p.type is float
            else Parameter(name, 0, 1)
            for name, p in self._loaded().parameters.items()
        }

    def latency(self) -> int:
        return int(self._loaded().reported_latency_samples)

    def _loaded(self) -> Any:
        try:
            program = _pedalboard().load_plugin(self.what, plugin_name=self.chosen)
        except (ImportError, ValueError) as error:
            raise type(error)(f"{_OWNER}: what must be a plug-in: {' '.join(str(error).split())}") from None
        if not program.is_effect:
            raise ValueError(f"{_OWNER}: what must be an effect, got {self.what}, an instrument, which hears nothing")
        return program


def _pedalboard() -> Any:
    try:
        import pedalboard
    except ImportError:
        raise ImportError(f"{_OWNER}: pedalboard is not installed; pip install 'hardgrad[audio]' (GPL-3)") from None
    return pedalboard


def _range(name: str, rate: float) -> Parameter | None:
    """Return the range of an effect's parameter; frequencies end under half the sample rate."""
    for found, low, high, *scale in (line.split() for line in _RANGES.split(", ")):
        if found == name:
            unit = unit_of(name)
            top = {"Hz": rate if name == "target_sample_rate" else 0.45 * rate}.get(unit, np.inf)
            scale = scale or [natural(unit, float(low))]
            return Parameter(name, float(low), min(float(high), top), unit, scale[0])
    return None


def _turn(own: Any, parameter: Parameter) -> Callable[[float], float]:
    """Return from a knob to a raw value. What is no number, a mode say, has its range on the raw scale."""
    if own.type is not float:
        return parameter.value
    if parameter.scale != "linear":
        return lambda knob: float(own.get_raw_value_for(parameter.value(knob)))
    low, high = own.get_raw_value_for(parameter.low), own.get_raw_value_for(parameter.high)
    return lambda knob: float(low + (high - low) * knob)


def _read_back(parameters: list[Any], raw: list[float]) -> None:
    for parameter, value in zip(parameters, raw, strict=True):
        steps = min(max(parameter.num_steps - 1, 1), 1000) if parameter.is_discrete else 1000
        _took(parameter.python_name, value, parameter.raw_value, 0.5 / steps + 1e-4)


def _took(name: str, value: float, stands: float, tolerance: float) -> None:
    if not abs(stands - value) <= tolerance:
        raise RuntimeError(f"parameter {name!r} must stand where it is set, got {stands:g} for {value:g}; leave it out")


def _played(effect: Any, signal: Array, rate: float) -> Array:
    """Return what an effect makes of (channels, samples) from silence on."""
    samples = signal.shape[1]
    signal = signal if samples >= _FEWEST else np.pad(signal, ((0, 0), (0, _FEWEST - samples)))
    out: Array = effect.process(signal, rate, reset=True)
    if out.shape != signal.shape:
        raise RuntimeError(f"the effect must keep the signal's shape, got {out.shape} from {signal.shape}")
    return out[:, :samples]
