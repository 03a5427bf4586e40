"""What a fit of sounds adds to its story: the held-out stretches, to be heard, seen and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.drawing.clips import MOST_S, Clip, clips_of

if TYPE_CHECKING:
    from hardgrad_lab.fit.fitted import Fitted
    from hardgrad_lab.fit.tables import Table

Array = NDArray[np.float64]
FADE_S = 0.004  # at both ends of a stretch: one that begins in the middle of a wave would click


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Samples that follow each other in a file.

    Args:
        file: by name.
        begin: seconds from the beginning of the file.
        dry: (n,) what went in.
        truth: (n,) what the box made of it.
        predicted: (n,) what the model makes of it.
        index: (n,) the range of each sample.
    """

    file: str
    begin: float
    dry: Array
    truth: Array
    predicted: Array
    index: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Test samples to listen to.

    Args:
        rate: samples a second.
        stretches: the loudest ones, in order of time, at most ``MOST_S`` seconds together.
        held_out: how many stretches there are.
        power: mean square of the truth over all test samples.
    """

    rate: int
    stretches: Sequence[Stretch]
    held_out: int
    power: float

    @property
    def loudest(self) -> Stretch:
        """Return the stretch with the most energy."""
        return max(self.stretches, key=lambda each: _energy(each.truth))


def sound_of(fitted: Fitted, read: Table) -> Sound | None:
    """Return the test samples with the most energy, in whole stretches; None for a table."""
    if not read.rate or read.target is None or read.target.ndim != 1:
        return None
    test, truth, rate = fitted.test, read.target, read.rate
    pieces = np.split(test, np.flatnonzero((np.diff(test) != 1) | (np.diff(read.file[test]) != 0)) + 1)
    chosen: list[NDArray[np.int64]] = []
    left = int(MOST_S * rate)
    for piece in sorted(pieces, key=lambda each: -_energy(truth[each])):
        if left > 0:
            chosen.append(_loudest(piece, truth, left))
            left -= len(chosen[-1])
    return Sound(
        rate=rate,
        stretches=[_stretch(rows, fitted, read) for rows in sorted(chosen, key=lambda each: int(each[0]))],
        held_out=len(pieces),
        power=_energy(truth[test]) / len(test),
    )


def _stretch(rows: NDArray[np.int64], fitted: Fitted, read: Table) -> Stretch:
    assert read.rate is not None
    assert read.target is not None
    return Stretch(
        file=read.paths[int(read.file[rows[0]])].name,
        begin=float(read.row[rows[0]]) / read.rate,
        dry=read.inputs[read.key].to_numpy(dtype=np.float64)[rows],
        truth=read.target[rows],
        predicted=fitted.predicted[rows],
        index=fitted.index[rows],
    )


def players(sound: Sound, *, unseen: bool) -> tuple[list[Clip], str]:
    """Return what went in, what came out, what the model makes of it and its error, to listen to; and a note on them.

    Args:
        sound: what there is to hear.
        unseen: whether the model was not trained on it.
    """
    parts = sound.stretches
    sounds = [
        ("dry: the input", _joined([each.dry for each in parts], sound.rate)),
        ("wet: the box", _joined([each.truth for each in parts], sound.rate)),
        ("the model", _joined([each.predicted for each in parts], sound.rate)),
        ("the error: the model less the box", _joined([each.predicted - each.truth for each in parts], sound.rate)),
    ]
    clips, gain = clips_of(sounds, sound.rate)
    seen = "that nothing was trained on" if unseen else "that the model was trained on"
    count = f"{len(parts)} of {sound.held_out} stretches" if sound.held_out > 1 else "One stretch"
    said = f"{count} {seen}, the loudest, one after another, {len(sounds[0][1]) / sound.rate:.2g} s in all; "
    said += f"at most {MOST_S:g} s, so that the page stays small."
    quieter = "" if gain == 1 else f" All are {-20 * np.log10(gain):.1f} dB quieter than they are, so that none clips."
    return clips, said + quieter


def _joined(parts: Sequence[Array], rate: int) -> Array:
    faded = []
    for part in parts:
        length = min(int(FADE_S * rate), len(part) // 2)
        ramp = np.linspace(0, 1, length)
        faded.append(part * np.concatenate([ramp, np.ones(len(part) - 2 * length), ramp[::-1]]))
    return np.concatenate(faded)


def _energy(values: Array) -> float:
    return float(np.square(values).sum())


def _loudest(rows: NDArray[np.int64], truth: Array, most: int) -> NDArray[np.int64]:
    """Return so many rows that follow each other, where the truth has the most energy."""
    length = min(most, len(rows))
    energy = np.concatenate([[0.0], np.cumsum(np.square(truth[rows]))])
    begin = int((energy[length:] - energy[:-length]).argmax())
    return rows[begin : begin + length]
