"""Sounds to listen to inside a page, without a file beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_S = 5.0  # seconds of one clip: three of them are about a megabyte of page


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One player.

    Args:
        name: what it plays.
        kind: of the data, such as ``flac``.
        data: in base64.
    """

    name: str
    kind: str
    data: str


def clip_of_file(name: str, path: Path) -> Clip:
    """Return a player for a sound file, as it is."""
    data = base64.b64encode(path.read_bytes()).decode()
    return Clip(name=name, kind=path.suffix.lower().removeprefix("."), data=data)


def clips_of(sounds: Sequence[tuple[str, NDArray[np.float64]]], rate: int) -> tuple[list[Clip], float]:
    """Return players for sounds that are to be compared, at most ``MOST_S`` seconds of each.

    Args:
        sounds: names, and samples (n,) with full scale at 1.
        rate: samples a second.

    Returns:
        The players, FLAC of 16 bits, and what all samples were multiplied by so that none is clipped; 1 if none was.
    """
    import soundfile

    peak = max((float(np.abs(samples).max()) for _, samples in sounds if len(samples)), default=0.0)
    gain = 1.0 if peak <= 1.0 else 0.999 / peak
    made = []
    for name, samples in sounds:
        buffer = io.BytesIO()
        shown = gain * samples[: int(MOST_S * rate)]
        soundfile.write(buffer, shown, rate, format="FLAC", subtype="PCM_16")
        made.append(Clip(name=name, kind="flac", data=base64.b64encode(buffer.getvalue()).decode()))
    return made, gain
