"""A sound written block by block, whole or not at all, with nothing clipped unless the user wants it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hardgrad_lab.fit.options import TooLoud
from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.sounds.levels import decibels
from hardgrad_lab.runs.atomic import write_atomically

# By suffix: libsndfile's format and what a sample is. Floats hold any value; the others end at full scale.
WRITTEN = {
    ".wav": ("WAV", "FLOAT"),
    ".w64": ("W64", "FLOAT"),
    ".aif": ("AIFF", "FLOAT"),
    ".aiff": ("AIFF", "FLOAT"),
    ".caf": ("CAF", "FLOAT"),
    ".au": ("AU", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
}
MOST_BYTES = (1 << 32) - (1 << 16)  # of a WAV, an AIFF or an AU, whose header counts in 32 bits
STEP = 65_536  # samples converted at a time


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a sound file is to hold.

    Args:
        rate: samples a second.
        channels: how many.
        frames: samples of each channel.
    """

    rate: int
    channels: int
    frames: int


@dataclass
class Loudness:
    """What is measured of the samples that pass.

    Args:
        peak: the largest value without its sign.
        over: samples above full scale.
    """

    peak: float = 0.0
    over: int = 0

    def measured(self, blocks: Iterable[Array]) -> Iterator[Array]:
        """Yield blocks, measured."""
        for block in blocks:
            size = np.abs(block)
            self.peak = max(self.peak, float(size.max()))
            self.over += int((size > 1).sum())
            yield block


def check_form(path: Path, form: Form) -> None:
    """Raise a FileFault if a path's format cannot hold a sound of this rate, so many channels and samples."""
    import soundfile

    kind, subtype = WRITTEN[path.suffix.lower()]
    if kind in ("AIFF", "AU") and 4 * form.channels * form.frames > MOST_BYTES:
        raise FileFault(f"{path} cannot hold {form.frames:,} samples, more than 4 GiB; choose --out with .wav or .w64")
    try:
        with soundfile.SoundFile(BytesIO(), "w", form.rate, form.channels, subtype, format=kind):
            pass
    except (soundfile.LibsndfileError, ValueError, TypeError):
        raise FileFault(
            f"{path} cannot hold {form.channels} channels at {form.rate:,} Hz, as {kind}; choose --out with .wav"
        ) from None


def write_sound(path: Path, blocks: Iterable[Array], form: Form, too_loud: TooLoud) -> list[str]:
    """Write a sound, by the path's suffix.

    Args:
        path: the file to make or replace.
        blocks: (m, C) each.
        form: what they come to.
        too_loud: what is done with samples above full scale where the format ends there: "float" writes a WAV in
            floats instead, "clip" cuts them off, "scale" makes the whole quieter.

    Returns:
        Lines for the user.

    Raises:
        FileFault: if there were such samples and ``too_loud`` is "float"; it names the WAV that was written.
    """
    kind, subtype = WRITTEN[path.suffix.lower()]
    if subtype == "FLOAT":
        kind = "RF64" if kind == "WAV" and 4 * form.channels * form.frames > MOST_BYTES else kind
        write_atomically(path, partial(_write, blocks, form, kind, subtype))
        return (
            []
            if kind != "RF64"
            else [f"{path} is longer than 4 GiB: it is an RF64 file, which not every program reads"]
        )
    aside = _free(path)
    loudness = Loudness()
    write_atomically(aside, partial(_write, loudness.measured(blocks), form, _long(form), "FLOAT"))
    if loudness.over and too_loud == "float":
        raise FileFault(
            f"{path} was not written, as {kind} ends at full scale: {loudness.over:,} of "
            f"{form.frames * form.channels:,} samples are above it, the peak is {loudness.peak:.4g} "
            f"({decibels(loudness.peak):+.1f} dB); all are in {aside} as floats, or choose --too-loud clip or scale"
        )
    gain = 1.0
    notes = [
        f"{path} is lossy (Vorbis): it differs from the prediction"
        if kind == "OGG"
        else f"{path} holds 24 bits a sample"
    ]
    if loudness.over and too_loud == "scale":
        gain = (1 - 2**-23) / loudness.peak
        notes.append(f"{path} is {-decibels(gain):.2f} dB quieter than the prediction, all samples times {gain:.6g}")
    elif loudness.over:
        notes.append(f"{path}: {loudness.over:,} samples above full scale, up to {loudness.peak:.4g}, are clipped")
    write_atomically(path, partial(_write, _scaled(aside, gain), form, kind, subtype))
    with suppress(OSError):
        aside.unlink()
    return notes


def _write(blocks: Iterable[Array], form: Form, kind: str, subtype: str, file: Any) -> None:
    import soundfile

    with soundfile.SoundFile(file, "w", form.rate, form.channels, subtype, format=kind) as sound:
        for block in blocks:
            # A long block at once overflows the Vorbis encoder's stack.
            for begin in range(0, len(block), STEP):
                sound.write(block[begin : begin + STEP].astype(np.float32 if subtype == "FLOAT" else np.float64))


def _scaled(path: Path, gain: float) -> Iterator[Array]:
    import soundfile

    with soundfile.SoundFile(path) as file:
        blocks: Any = file.blocks(STEP, dtype="float64", always_2d=True)
        for block in blocks:
            yield np.clip(block * gain, -1, 1)


def _long(form: Form) -> str:
    return "RF64" if 4 * form.channels * form.frames > MOST_BYTES else "WAV"


def _free(path: Path) -> Path:
    """Return a name beside a path that no file has."""
    number = 1
    while (free := path.with_name(f"{path.stem}-float{'' if number == 1 else number}.wav")).exists():
        number += 1
    return free
