"""What is wrong with the samples of a recording before anything is learned from them: silence, one value, clipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.rows import Array

QUIET = 1e-3  # a peak below this, -60 dB, is said
FULL_SCALE = 0.999  # the peak from which a flat top is taken for clipping
FLAT = 3  # samples in a row at the peak that make a flat top
CLIPPED, CLIPPED_SHARE = 10, 1e-4  # samples in flat tops that are worth a line, and their share
FRAMES, FAINT = 100, 1e-3  # frames a second of a loudness, and what is added to them, of the loudest
OFFSET = 1.0  # a mean of so many standard deviations is said


def is_flat(samples: Array) -> bool:
    """Return whether samples are all one value, as in silence."""
    return bool(samples.max() == samples.min())


def check_moves(path: Path, samples: Array, part: str, rate: int) -> None:
    """Raise a FileFault if a recording is one value from beginning to end.

    Args:
        path: of the file.
        samples: (n,) or (n, C).
        part: "input" or "target".
        rate: samples a second; 0 for a file of one column of numbers.
    """
    if not is_flat(samples):
        return
    value = float(samples.flat[0])
    what = "is silent" if rate and value == 0 else f"holds one value, {value:g}, from beginning to end"
    why = "a constant input decides nothing" if part == "input" else "there is nothing to learn in a constant target"
    raise FileFault(f"{path} {what}: {why}; choose another recording, or check its cable and level")


def level_notes(path: Path, samples: Array) -> list[str]:
    """Return what should be known of one file's samples (n, C): very quiet, clipped, or far from zero."""
    notes = []
    peak = float(np.abs(samples).max())
    if 0 < peak < QUIET:
        notes.append(f"{path} is very quiet: its peak is {decibels(peak):.0f} dB of full scale")
    if (clipped := sum(_in_flat_tops(channel) for channel in samples.T)) >= max(CLIPPED, CLIPPED_SHARE * samples.size):
        notes.append(
            f"{path}: {clipped:,} samples ({clipped / samples.size:.2%}) stand in flat tops at {peak:.3g}: if the "
            "recording was clipped, record it again at a lower level"
        )
    mean, spread = np.abs(samples.mean(axis=0)), samples.std(axis=0)
    if (far := np.flatnonzero(mean > OFFSET * spread)).size:
        notes.append(f"{path} lies around {samples.mean(axis=0)[far[0]]:.3g}, not around 0: it has a DC offset")
    return notes


def loudness_agrees(x: Array, y: Array, rate: int) -> float:
    """Return the highest correlation of two sounds' loudness in dB, (n,) each, at any delay up to half a second."""
    frame = max(1, rate // FRAMES)
    n = min(len(x), len(y)) // frame
    reach = min(FRAMES // 2, n // 4)
    sizes = [np.sqrt(np.square(each[: n * frame]).reshape(n, frame).mean(axis=1)) for each in (x, y)]
    dry, wet = (np.log(size + FAINT * size.max() + 1e-300) for size in sizes)
    best = -1.0
    for late in range(-reach, reach + 1):
        a, b = dry[max(0, -late) : n - max(0, late)], wet[max(0, late) : n - max(0, -late)]
        if len(a) > 1 and a.std() > 0 and b.std() > 0:
            best = max(best, float(np.corrcoef(a, b)[0, 1]))
    return best


def decibels(amplitude: float) -> float:
    r"""Return an amplitude in decibels of full scale, :math:`20 \log_{10} a`."""
    return float(20 * np.log10(max(amplitude, 1e-300)))


def _in_flat_tops(samples: Array) -> int:
    """Return how many samples stand at the peak, full scale, in rows of at least FLAT."""
    total = 0
    for top in (samples.max(), samples.min()):
        if abs(top) < FULL_SCALE:
            continue
        # 16-bit files reach 1 - 2^-15 above and -1 below.
        at = np.flatnonzero(samples == top)
        runs = np.split(at, np.flatnonzero(np.diff(at) != 1) + 1)
        total += sum(len(run) for run in runs if len(run) >= FLAT)
    return total
