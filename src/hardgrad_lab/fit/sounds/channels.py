"""Which channels of a pair of sounds make a recording. No channel is averaged or left out without a line."""

from __future__ import annotations

import numpy as np

from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.sounds.levels import decibels, is_flat
from hardgrad_lab.fit.sounds.sound_file import Sound

EACH, MID = "each", "mid"
_SIDES = {"left": 1, "right": 2}
CANCELS = 0.1  # of the power of its channels, what the mean must keep not to be said to cancel
GONE = 1e-6  # of that power, what counts as nothing: -60 dB


def check_channel(channel: str) -> None:
    """Raise a ValueError for a ``--channel`` that cannot be."""
    if channel in (EACH, MID, *_SIDES) or (channel.isdecimal() and int(channel) >= 1):
        return
    raise ValueError(f"--channel must be each, left, right, mid or a number from 1, got {channel!r}")


def match(dry: Sound, wet: Sound, channel: str, notes: list[str]) -> list[tuple[Array, Array]]:
    """Return the recordings that a pair of sounds makes: dry and wet samples, one pair for each channel taken.

    Args:
        dry: the input.
        wet: the target.
        channel: "each" takes every channel as a recording of its own; "left", "right" or a number from 1 takes that
            one, "mid" the mean of all.
        notes: lines for the user are added.

    Raises:
        FileFault: if it is not clear which channel belongs to which, a channel is not there, or channels cancel.
    """
    if channel != EACH:
        return [(_one(dry, channel, notes), _one(wet, channel, notes))]
    inputs, targets = dry.samples.T, wet.samples.T
    if len(inputs) != len(targets):
        inputs, targets = _alike(dry, wet, notes)
    elif len(inputs) > 1 and _equal(dry) and _equal(wet):
        notes.append(f"{dry.path} and {wet.path}: all {len(inputs)} channels are equal; one of them is taken")
        inputs, targets = inputs[:1], targets[:1]
    pairs = list(zip(inputs, targets, strict=True))
    if len(pairs) == 1:
        return pairs
    kept = [not (is_flat(x) or is_flat(y)) for x, y in pairs]
    for number in np.flatnonzero(~np.array(kept)) if any(kept) else ():
        silent = dry if is_flat(inputs[number]) else wet
        notes.append(f"{silent.path}: {_name(int(number), len(pairs))} is silent; it is left out of the pair")
    taken = sum(kept) or len(pairs)
    notes.append(
        f"{dry.path} and {wet.path} have {len(pairs)} channels: {'each' if taken > 1 else 'the other'} is taken as a "
        "recording of its own, as of a device that treats all alike (--channel left, right, mid or a number takes one)"
    )
    return [pair for pair, keep in zip(pairs, kept, strict=True) if keep or not any(kept)]


def _alike(dry: Sound, wet: Sound, notes: list[str]) -> tuple[Array, Array]:
    """Return one channel of each, where the file with more channels has the same in all."""
    for sound, other in ((dry, wet), (wet, dry)):
        if sound.samples.shape[1] > 1 and other.samples.shape[1] == 1 and _equal(sound):
            notes.append(f"{sound.path}: its {sound.samples.shape[1]} channels are equal; one of them is taken")
            return dry.samples.T[:1], wet.samples.T[:1]
    raise FileFault(
        f"{dry.path} and {wet.path} must have as many channels as each other, got {dry.samples.shape[1]} and "
        f"{wet.samples.shape[1]}; say which to take with --channel left, right, mid or a number from 1"
    )


def _one(sound: Sound, channel: str, notes: list[str]) -> Array:
    count = sound.samples.shape[1]
    if count == 1:
        return sound.samples[:, 0]
    if channel == MID:
        return _mean(sound, notes)
    number = _SIDES.get(channel) or int(channel)
    if number > count:
        raise FileFault(f"{sound.path} must have channel {number} (--channel {channel}), got {count} channels")
    notes.append(f"{sound.path}: {_name(number - 1, count)} of {count} channels is taken, the others are left out")
    return sound.samples[:, number - 1]


def _mean(sound: Sound, notes: list[str]) -> Array:
    mid: Array = sound.samples.mean(axis=1)
    power, kept = float(np.square(sound.samples).mean()), float(np.square(mid).mean())
    if power and kept < GONE * power:
        raise FileFault(
            f"{sound.path}: its channels cancel in their mean (--channel mid), since they are opposite in phase; take "
            "--channel left, or turn one channel over"
        )
    notes.append(f"{sound.path}: the mean of its {sound.samples.shape[1]} channels is taken")
    if kept < CANCELS * power:
        loss = decibels((power / kept) ** 0.5)
        notes.append(
            f"{sound.path}: its channels cancel for the most part, their mean is {loss:.0f} dB below them, since they "
            "are opposite in phase; --channel left takes one of them"
        )
    return mid


def _equal(sound: Sound) -> bool:
    return bool((sound.samples == sound.samples[:, :1]).all())


def _name(number: int, count: int) -> str:
    return ("the left channel", "the right channel")[number] if count == 2 else f"channel {number + 1}"
