"""Recordings: a file of numbers, one a line, and a sound file. Neither has a checksum that is known.

The hearts are those of the folder ``Data`` of github.com/eagomez2/nnLACTOSE, the sounds those of Debian's package
sonic-pi-samples.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.root import File, Root

Signal = np.ndarray[Any, np.dtype[np.float64]]

CURE = "copy it again; docs/commands/data.md says where it comes from"


def numbers(root: Root, place: str) -> Signal:
    """Return the numbers of a file that has one a line, without the first.

    The published program takes the first line for a heading, and so loses a sample; it is lost here too.

    Args:
        root: where data sets lie.
        place: of the file in it, such as ``lactose/TrainData/001_Normal1_bcg.csv``.

    Returns:
        (n,).

    Raises:
        MissingDataError: if it is not there.
        DamagedDataError: if it holds anything but numbers.
    """
    path = _path(root, place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file, which is refused below
            values = np.loadtxt(path, skiprows=1, ndmin=1)
    except (OSError, ValueError) as error:
        raise DamagedDataError(f"data: {path} is no file of one number a line ({error}); {CURE}") from None
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DamagedDataError(f"data: {path} must hold one finite number a line, below a first one; {CURE}")
    return np.asarray(values)


def sound(root: Root, place: str) -> tuple[Signal, float]:
    """Return a sound, the mean of its channels, its peak at 1, and its samples a second.

    Args:
        root: where data sets lie.
        place: of the file in it, such as ``audio/sonicpi_clean/guit_em9.flac``.

    Raises:
        MissingDataError: if it is not there.
        DamagedDataError: if it is no sound file, or silent.
    """
    mono, rate = samples(root, place)
    peak = np.abs(mono).max(initial=0.0)
    if not peak > 0:
        raise DamagedDataError(f"data: {root.path() / place} holds no sound; {CURE}")
    return mono / peak, float(rate)


def samples(root: Root, place: str) -> tuple[Signal, int]:
    """Return a sound as it is, the mean of its channels, and its samples a second; see ``sound``."""
    import soundfile

    path = _path(root, place)
    try:
        channels, rate = soundfile.read(path, always_2d=True)
    except (OSError, RuntimeError) as error:
        raise DamagedDataError(f"data: {path} is no readable sound file ({error}); {CURE}") from None
    return channels.mean(axis=1), rate


def _path(root: Root, place: str) -> Path:
    return root.get(
        File(what="recording", digests={place: ""}, otherwise="get it from where docs/commands/data.md says")
    )
