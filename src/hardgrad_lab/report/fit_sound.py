"""What a fit of sounds adds to its story: the loudest held-out stretch, to be heard, seen and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.report.clips import MOST_S, Clip, clips_of

if TYPE_CHECKING:
    from hardgrad_lab.tabular.job import Fitted
    from hardgrad_lab.tabular.tables import Table

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A stretch of sound that the model was not trained on, if any was set aside.

    Args:
        rate: samples a second.
        file: it is from, by name.
        begin: seconds from the beginning of the file.
        dry: (n,) what went in.
        truth: (n,) what the box made of it.
        predicted: (n,) what the model makes of it.
        index: (n,) the range of each sample.
        power: mean square of the truth over all test samples.
    """

    rate: int
    file: str
    begin: float
    dry: Array
    truth: Array
    predicted: Array
    index: NDArray[np.int64]
    power: float


def sound_of(fitted: Fitted, read: Table) -> Sound | None:
    """Return the stretch of test samples with the most energy, at most ``MOST_S`` seconds; None for a table."""
    if not read.rate or read.target is None or read.target.ndim != 1:
        return None
    test, truth = fitted.test, read.target
    pieces = np.split(test, np.flatnonzero((np.diff(test) != 1) | (np.diff(read.file[test]) != 0)) + 1)
    most = int(MOST_S * read.rate)
    rows = max((_loudest(piece, truth, most) for piece in pieces), key=lambda each: float(_energy(truth[each])))
    return Sound(
        rate=read.rate,
        file=read.paths[int(read.file[rows[0]])].name,
        begin=float(read.row[rows[0]]) / read.rate,
        dry=read.inputs[read.key].to_numpy(dtype=np.float64)[rows],
        truth=truth[rows],
        predicted=fitted.predicted[rows],
        index=fitted.index[rows],
        power=float(_energy(truth[test])) / len(test),
    )


def players(sound: Sound, *, unseen: bool) -> tuple[list[Clip], str]:
    """Return what went in, what came out and what the model makes of it, to listen to; and what to know of them."""
    sounds = [("dry: the input", sound.dry), ("wet: the box", sound.truth), ("the model", sound.predicted)]
    error = ("the error: the model less the box", sound.predicted - sound.truth)
    clips, gain = clips_of([*sounds, error], sound.rate)
    seen = "which nothing was trained on" if unseen else "which the model was trained on"
    said = f"{len(sound.truth) / sound.rate:.3g} s of {sound.file} from {sound.begin:.3f} s on, {seen}: the loudest "
    said += f"stretch, at most {MOST_S:g} s, so that the page stays small."
    quieter = "" if gain == 1 else f" All are {-20 * np.log10(gain):.1f} dB quieter than they are, so that none clips."
    return clips, said + quieter


def _energy(values: Array) -> float:
    return float(np.square(values).sum())


def _loudest(rows: NDArray[np.int64], truth: Array, most: int) -> NDArray[np.int64]:
    length = min(most, len(rows))
    energy = np.concatenate([[0.0], np.cumsum(np.square(truth[rows]))])
    begin = int((energy[length:] - energy[:-length]).argmax())
    return rows[begin : begin + length]
