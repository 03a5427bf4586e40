"""Pairs of recordings, what was played and what came back, as one table that a model is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hardgrad_lab.fit.reading.files import FileFault, numbers, read_frame
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.sounds.alignment import Delay, find_delay, one_delay
from hardgrad_lab.fit.sounds.channels import EACH, match
from hardgrad_lab.fit.sounds.fractions import advanced
from hardgrad_lab.fit.sounds.knob import Knob
from hardgrad_lab.fit.sounds.levels import check_moves, is_flat, level_notes, loudness_agrees
from hardgrad_lab.fit.sounds.sound_file import Sound, is_sound, read_sound
from hardgrad_lab.fit.tables import INPUT, Table

MOST = 30_000_000  # samples of each channel that a fit takes in all: 11 minutes at 44.1 kHz, some GB while it runs
UNEVEN_S = 0.05  # seconds by which the sounds of a pair may differ in length, besides a delay
UNRELATED = 0.95  # of the target's variance, left at every delay: the two have little to do with each other, unless
TOGETHER = 0.9  # is what their loudness correlates by: so it is with ring modulators, which no curve explains
SHOWN = 4  # lags that a message lists


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How pairs of sounds are read.

    Args:
        channel: "each", "left", "right", "mid" or a number from 1.
        latency: samples that targets come late by, negative for early, with a fraction or without; None lets each pair
            be looked at.
        knob: of the device, and where it stood in each pair.
    """

    channel: str = EACH
    latency: float | None = None
    knob: Knob | None = None


def read_pairs(inputs: Sequence[Path], targets: Sequence[Path] | None, how: Pairing | None = None) -> Table:
    """Read sound files, or files of one column of numbers without a header; each input with its target beside it.

    Args:
        inputs: at least one; with a knob, one may be that of all targets.
        targets: one for each input, or None.
        how: channels, delay and knob.

    Returns:
        A table with the column ``input``, which is the key; each channel taken is a recording of its own. A knob is one
        more column, by its name, and the key.

    Raises:
        FileFault: for files that cannot be read, a pair of different sample rates, lengths or channels, or a recording
            that never changes.
    """
    how = how or Pairing()
    inputs = _one_each(inputs, targets, how.knob)
    most = None if targets is None else max(1, MOST // len(targets))
    sounds = {path: _read(path, most) for path in dict.fromkeys(inputs)}
    read = [sounds[path] for path in inputs]
    wanted = [_read(path, most) for path in targets or ()]
    rate = _one_rate([*read, *wanted])
    notes = [note for sound in (*sounds.values(), *wanted) for note in sound.notes]
    made = _Recordings()
    if targets is None:
        for number, sound in enumerate(read):
            made.add(number, 0, sound.samples[:, 0], None)
        return made.table(list(inputs), rate, list(dict.fromkeys(notes)), how.knob)
    pairs = [_Pair(dry, wet, match(dry, wet, how.channel, notes)) for dry, wet in zip(read, wanted, strict=True)]
    found = [_found(pair, how, notes) for pair in pairs]
    common = one_delay(found)
    for number, (pair, delay) in enumerate(zip(pairs, found, strict=True)):
        made.add_pair(number, pair, _late(pair, delay, common, how, notes), notes)
    return made.table(list(inputs), rate, list(dict.fromkeys(notes)), how.knob)


class _Pair(NamedTuple):
    """Two sounds, and the recordings that their channels make."""

    dry: Sound
    wet: Sound
    channels: list[tuple[Array, Array]]


class _Recordings:
    """The recordings of all pairs, one after another."""

    def __init__(self) -> None:
        self._x: list[Array] = []
        self._y: list[Array] = []
        self._file: list[int] = []
        self._begin: list[int] = []
        self._channels: list[int] = []
        self._latency: list[float] = []

    def add(self, file: int, begin: int, x: Array, y: Array | None) -> None:
        self._x.append(x)
        self._file.append(file)
        self._begin.append(begin)
        if y is not None:
            self._y.append(y)

    def add_pair(self, file: int, pair: _Pair, late: float, notes: list[str]) -> None:
        """Add the channels of a pair, cut to what they have in common."""
        dry, wet, pairs = pair
        _check_lengths(dry, wet, late, notes)
        for sound, samples, part in ((dry, [x for x, _ in pairs], "input"), (wet, [y for _, y in pairs], "target")):
            check_moves(sound.path, np.stack(samples), part, sound.rate)
            if sound.rate:
                notes += level_notes(sound.path, np.stack(samples, axis=1))
        whole = round(late)
        before, after = max(0, -whole), max(0, whole)
        for x, y in pairs:
            x, y = x[before:], (y if late == whole else advanced(y, late - whole))[after:]
            n = min(len(x), len(y))
            if n < 1:
                raise FileFault(
                    f"{dry.path} and {wet.path} do not overlap, {_number(late)} samples apart; choose another --lag"
                )
            self.add(file, before, x[:n], y[:n])
        self._channels.append(len(pairs))
        self._latency.append(late)

    def table(self, paths: list[Path], rate: int, notes: list[str], knob: Knob | None) -> Table:
        lengths = [len(x) for x in self._x]
        file = np.repeat(np.array(self._file), lengths)
        columns = {INPUT: np.concatenate(self._x)}
        if knob is not None:
            columns[knob.name] = np.array(knob.values)[file]
        facts: dict[str, Any] = (
            {"rate": rate or None, "channels": self._channels, "latency": self._latency} if self._y else {}
        )
        return Table(
            inputs=pd.DataFrame(columns),
            target=np.concatenate(self._y) if self._y else None,
            key=INPUT if knob is None else knob.name,
            groups=np.repeat(np.arange(len(lengths)), lengths),
            file=file,
            row=np.concatenate([np.arange(n) + begin for n, begin in zip(lengths, self._begin, strict=True)]),
            paths=paths,
            rate=rate or None,
            notes=notes,
            facts=facts if knob is None else facts | knob.facts(),
        )


def _one_each(inputs: Sequence[Path], targets: Sequence[Path] | None, knob: Knob | None) -> Sequence[Path]:
    """Return an input for each target: with a knob one input may be that of all."""
    if targets is None:
        return inputs
    if knob is not None:
        knob.check(len(targets))
        if len(inputs) == 1:
            return [*inputs] * len(targets)
    if len(targets) != len(inputs):
        cure = "; say with --knob NAME=V,V what differs between them" if len(inputs) == 1 else ""
        raise FileFault(f"--target must name one file for each of {len(inputs)} inputs, got {len(targets)}{cure}")
    return inputs


def _read(path: Path, most: int | None) -> Sound:
    """Return a sound; a file of one column of numbers has no rate, said as 0."""
    if is_sound(path):
        return read_sound(path, most)
    frame = read_frame(path, [INPUT])
    values = numbers(frame, INPUT, "--target")
    if len(missing := np.flatnonzero(~np.isfinite(values))):
        raise FileFault(f"{path} has no number in {frame.place(int(missing[0]))}; fill it")
    return Sound(path=path, samples=values[:, None], rate=0)


def _one_rate(sounds: Sequence[Sound]) -> int:
    if len({sound.rate for sound in sounds}) > 1:
        said = ", ".join(f"{sound.path} {sound.rate or 'no'} Hz" for sound in sounds)
        raise FileFault(f"all files must have one sample rate, got {said}; resample them first")
    return sounds[0].rate


def _found(pair: _Pair, how: Pairing, notes: list[str]) -> Delay:
    """Return what is found of a pair's delay; raise a FileFault where nothing says that the two belong together."""
    dry, wet, channels = pair
    n = min(len(dry.samples), len(wet.samples))
    pairs = [(x[:n], y[:n]) for x, y in channels if not (is_flat(x[:n]) or is_flat(y[:n]))]
    if how.latency is not None or not dry.rate or not pairs:
        return Delay()
    found = find_delay(pairs, dry.rate)
    if found.sure:
        return found
    if len(pairs) == 2:
        (left, left_wet), (right, right_wet) = pairs
        if find_delay([(left, right_wet), (right, left_wet)], dry.rate).sure:
            notes.append(
                f"the channels of {wet.path} seem to be swapped: its right follows the left of {dry.path} and its left "
                "the right; swap them in one file, or take one with --channel"
            )
    if found.error > UNRELATED and max(loudness_agrees(x, y, dry.rate) for x, y in pairs) < TOGETHER:
        raise FileFault(
            f"{dry.path} and {wet.path} must belong together, and neither follows the other: at no delay up to half a "
            f"second a curve explains more than {1 - found.error:.0%} of the target, and their loudness differs; give "
            "the pair's other file, or insist with --lag N, the samples that the target comes late by"
        )
    return found


def _late(pair: _Pair, found: Delay, common: Delay | None, how: Pairing, notes: list[str]) -> float:
    """Return by how many samples a target is shifted, with a line if it is, or if it is not certain."""
    dry, wet, _ = pair
    if how.latency is not None:
        if how.latency:
            notes.append(_said(dry, wet, how.latency, "as --lag says"))
        return how.latency
    if found.inverted:
        notes.append(f"{wet.path} is upside down against {dry.path}: its polarity is inverted, which a branch learns")
    if found.drift:
        notes.append(
            f"{wet.path} seems to drift against {dry.path}: its delay grows by {found.drift:,} samples from the first "
            "third to the last, as with two clocks; record both on one device, or resample one"
        )
    own, found = found, common or found
    if not found.sure:
        notes += [_unsure(dry, wet, found)] if found.candidates else []
        return 0
    # What a filter in the device needs stays in, though a branch that sees one sample would do better at its peak.
    late = found.samples + found.fraction if found.fraction else found.samples  # which stays a whole number
    if late:
        memory = "" if found.samples == found.closest else _memory(found)
        same = own.samples == found.samples
        why = "as a correlation finds" if same else "as the pairs that are sure agree"
        notes.append(_said(dry, wet, late, why + memory))
    return late


def _said(dry: Sound, wet: Sound, late: float, why: str) -> str:
    time = f" ({1000 * abs(late) / dry.rate:.3g} ms)" if dry.rate else ""
    side = "late" if late > 0 else "early"
    return (
        f"{wet.path} comes {_number(abs(late))} samples{time} {side} against {dry.path}, {why}: this latency is taken "
        "out (--lag 0 leaves it in, --lag N takes out N samples)"
    )


def _number(samples: float) -> str:
    return f"{samples:,.3f}".rstrip("0").rstrip(".")


def _memory(found: Delay) -> str:
    return f", less what a device with a memory may need before its strongest sample, {found.closest:,} late"


def _unsure(dry: Sound, wet: Sound, found: Delay) -> str:
    if found.error > UNRELATED:
        return (
            f"{wet.path} follows {dry.path} at no delay up to half a second: no curve explains more than "
            f"{1 - found.error:.0%} of it, though they are loud and soft together; nothing is shifted, and --lag N "
            "takes out N samples"
        )
    listed = ", ".join(f"{lag:,}" for lag in found.candidates[:SHOWN])
    return (
        f"it is not certain by how much {wet.path} comes late against {dry.path}: delays of {listed} samples explain "
        "it about equally well; nothing is shifted, and --lag N takes out N samples"
    )


def _check_lengths(dry: Sound, wet: Sound, late: float, notes: list[str]) -> None:
    length, other = len(dry.samples), len(wet.samples)
    apart = abs(length - other)
    if apart > UNEVEN_S * dry.rate + abs(late):
        raise FileFault(
            f"{dry.path} and {wet.path} must be equally long, got {length:,} and {other:,} values; cut them so that "
            "they begin and end together" + "".join(f"; {note}" for note in (*dry.notes, *wet.notes))
        )
    if apart:
        notes.append(
            f"{dry.path} and {wet.path} differ by {apart:,} samples in length; the end of the longer is left out"
        )
