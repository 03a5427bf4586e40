"""What is left of a delay below one sample: found where a curve explains most, taken out by a windowed sinc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.sounds.lags import Piece, error_at

TAPS = 64  # of the sinc, either way
BETA = 8.0  # of its Kaiser window: 80 dB
SHORTEST = 8 * TAPS  # samples of a piece that is asked
FEWEST, FINE = 0.1, 0.005  # samples: fractions below the first are left in, others found to the second
APART = 0.1  # samples by which thirds of a recording may differ
WORTH = 0.9  # of the error at the whole lag, what a fraction must leave less than


def advanced(samples: Array, by: float) -> Array:
    r"""Return band-limited samples (n,) as they are ``by`` samples later, :math:`y_n = \sum_k x_{n+k} h(k - by)`.

    Beyond its ends a sound is held.
    """
    import scipy.signal

    signal: Any = scipy.signal
    at = np.arange(-TAPS, TAPS + 1) + by
    window = np.i0(BETA * np.sqrt(np.maximum(0.0, 1 - (at / (TAPS + 1)) ** 2))) / np.i0(BETA)
    made: Array = signal.oaconvolve(np.pad(samples, TAPS, mode="edge"), np.sinc(at) * window, mode="valid")
    return made


def moved(pieces: Sequence[Piece], late: float) -> list[Piece]:
    """Return pieces whose target comes earlier by a fraction of a sample, without their ends, where it is not known."""
    inner = slice(TAPS, -TAPS)
    return [replace(piece, dry=piece.dry[inner], wet=advanced(piece.wet, late)[inner]) for piece in pieces]


def find_fraction(pieces: Sequence[Piece], knots: Array, lag: int) -> float:
    """Return by which fraction of a sample the target comes later than a whole lag; 0 where that is not certain.

    Args:
        pieces: of the recording, which must agree.
        knots: of the curve that stands for the device.
        lag: the whole lag.
    """
    from scipy.optimize import minimize_scalar

    if min(len(piece.wet) for piece in pieces) < SHORTEST:
        return 0.0

    def error(some: Sequence[Piece], late: float) -> float:
        return error_at(moved(some, late), knots, lag)[0]

    before, at, after = (error(pieces, late) for late in (-0.25, 0.0, 0.25))
    bend = before - 2 * at + after
    if bend <= 0 or abs(before - after) < 4 * FEWEST * bend:  # their parabola's bottom is within half of it
        return 0.0
    found = []
    for piece in pieces:
        how: Any = minimize_scalar(
            lambda late, one=piece: error([one], float(late)),
            bounds=(-0.75, 0.75),
            method="bounded",
            options={"xatol": FINE},
        )
        found.append(float(how.x))
    fraction = round(float(np.median(found)), 3)
    certain = max(found) - min(found) < APART and error(pieces, fraction) < WORTH * at
    return fraction if certain and abs(fraction) >= FEWEST else 0.0
