"""What a fit of sounds adds to its story: the held-out stretches, to be heard, seen and measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad_lab.drawing.clips import MOST_S
from hardgrad_lab.fit.page.levels import Levels
from hardgrad_lab.fit.page.recognize import levels_of
from hardgrad_lab.fit.rivals.scores import esr_of
from hardgrad_lab.fit.tables import INPUT

if TYPE_CHECKING:
    from hardgrad_lab.fit.fitted import Fitted
    from hardgrad_lab.fit.tables import Table

Array = NDArray[np.float64]
MOST_SAMPLES = 240_000  # of all that is played and drawn, so that a page stays small at any rate
TIMED_S = 1.0  # of sound that the speed is measured on


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

    def parts(self) -> tuple[Array, Array, Array, Array]:
        """Return what went in, what came out, what the model makes of it, and its error."""
        return self.dry, self.truth, self.predicted, self.predicted - self.truth


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One place of the knob; a device without a knob has one voice.

    Args:
        name: such as ``gain 0.25``; empty without a knob.
        stretches: the loudest held-out ones, in order of time.
        held_out: how many there are.
        levels: what the box does to levels; None where there is too little to say.
        esr: on the test samples of these files.
    """

    name: str
    stretches: Sequence[Stretch]
    held_out: int
    levels: Levels | None
    esr: float | None

    def notes(self) -> dict[str, Any]:
        """Return what ``model.json`` says of this."""
        return {
            "knob": self.name,
            "esr": self.esr,
            "levels": None if self.levels is None else self.levels.shape.notes(),
        }


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A box, heard.

    Args:
        rate: samples a second.
        voices: one for each place of the knob; together they last ``MOST_S`` seconds at most.
        power: mean square of the truth over all test samples.
        powers: over those of each range; None for a range without one.
        speed: seconds of sound that the model makes in a second, on one thread.
    """

    rate: int
    voices: Sequence[Voice]
    power: float
    powers: Sequence[float | None]
    speed: float

    @property
    def stretches(self) -> list[Stretch]:
        """Return those of all voices."""
        return [each for voice in self.voices for each in voice.stretches]

    @property
    def loudest(self) -> Stretch:
        """Return the stretch with the most energy."""
        return max(self.stretches, key=lambda each: _energy(each.truth))


def sound_of(fitted: Fitted, read: Table, ranges: int) -> Sound | None:
    """Return the test samples with the most energy, in whole stretches; None for a table."""
    if not read.rate or read.target is None or read.target.ndim != 1:
        return None
    test, truth = fitted.test, read.target
    powers = [_mean_square(truth[test][fitted.index[test] == i]) for i in range(ranges)]
    return Sound(
        rate=read.rate,
        voices=_voices(fitted, read, read.rate),
        power=_mean_square(truth[test]) or 0.0,
        powers=powers,
        speed=_speed(fitted, read, read.rate),
    )


def _voices(fitted: Fitted, read: Table, rate: int) -> list[Voice]:
    """Return what is heard and seen at each place of the knob; each has the same share of the time."""
    knob = read.facts.get("knob")
    places = [""] * len(read.paths) if knob is None else [f"{knob['name']} {value:g}" for value in knob["values"]]
    names = list(dict.fromkeys(places))
    made = []
    for name in names:
        files = [number for number, place in enumerate(places) if place == name]
        rows = fitted.test[np.isin(read.file[fitted.test], files)]
        if len(rows):
            most = min(int(MOST_S * rate), MOST_SAMPLES) // len(names)
            made.append(_voice(name, rows, most, fitted, read))
    return made


def _voice(name: str, test: NDArray[np.int64], most: int, fitted: Fitted, read: Table) -> Voice:
    truth = read.target
    assert truth is not None
    assert read.rate is not None
    pieces = np.split(test, np.flatnonzero((np.diff(test) != 1) | (np.diff(read.file[test]) != 0)) + 1)
    chosen: list[NDArray[np.int64]] = []
    for piece in sorted(pieces, key=lambda each: -_energy(truth[each])):
        if most > 0:
            chosen.append(_loudest(piece, truth, most))
            most -= len(chosen[-1])
    dry = read.inputs[INPUT].to_numpy(dtype=np.float64)
    files = np.isin(read.file, np.unique(read.file[test]))
    recordings = [np.flatnonzero(files & (read.groups == group)) for group in np.unique(read.groups[files])]
    parts = [(dry[rows], truth[rows], fitted.predicted[rows], fitted.index[rows]) for rows in recordings]
    wrong = float(np.sqrt(np.square(fitted.predicted[test] - truth[test]).mean()))
    return Voice(
        name=name,
        stretches=[_stretch(rows, dry, fitted, read) for rows in sorted(chosen, key=lambda each: int(each[0]))],
        held_out=len(pieces),
        levels=levels_of(parts, read.rate),
        esr=esr_of(wrong, _mean_square(truth[test]) or 0.0),
    )


def _stretch(rows: NDArray[np.int64], dry: Array, fitted: Fitted, read: Table) -> Stretch:
    assert read.rate is not None
    assert read.target is not None
    return Stretch(
        file=read.paths[int(read.file[rows[0]])].name,
        begin=float(read.row[rows[0]]) / read.rate,
        dry=dry[rows],
        truth=read.target[rows],
        predicted=fitted.predicted[rows],
        index=fitted.index[rows],
    )


def _speed(fitted: Fitted, read: Table, rate: int) -> float:
    """Return how many times faster than it sounds the model makes sound, on one thread: the better of two tries."""
    rows = read.inputs.iloc[: int(TIMED_S * rate)]
    x = torch.from_numpy(rows[INPUT].to_numpy(dtype=np.float32))[None]
    knob = None if fitted.device is None or fitted.device.knob is None else torch.tensor(fitted.device.knob[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = []
    try:
        for _ in range(3):  # the first one warms up
            began = time.perf_counter()
            with torch.no_grad():
                fitted.model.predict(rows) if fitted.device is None else fitted.device(x, None, knob)
            taken.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return len(rows) / rate / max(min(taken[1:]), 1e-9)


def _energy(values: Array) -> float:
    return float(np.square(values).sum())


def _mean_square(values: Array) -> float | None:
    return float(np.square(values).mean()) if len(values) else None


def _loudest(rows: NDArray[np.int64], truth: Array, most: int) -> NDArray[np.int64]:
    """Return so many rows that follow each other, where the truth has the most energy."""
    length = min(most, len(rows))
    energy = np.concatenate([[0.0], np.cumsum(np.square(truth[rows]))])
    begin = int((energy[length:] - energy[:-length]).argmax())
    return rows[begin : begin + length]
