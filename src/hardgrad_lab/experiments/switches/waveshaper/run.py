"""Static circuits with real breaks, driven by real guitars and drums: wavefolder, 3-bit crusher, dead zone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from hardgrad_lab.data.recordings import Signal, sound
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.keep import keep_curves, keep_sounds
from hardgrad_lab.experiments.switches.rows import Part, Rows, part_of, some, together
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.train import reproducer
from hardgrad_lab.experiments.switches.waveshaper import PLAYED

FOLDER = "audio/sonicpi_clean"
TRAIN = ("guit_em9", "guit_e_fifths", "loop_amen_full", "drum_heavy_kick")
TESTS = {"guitar": "guit_harmonics", "drums": "loop_breakbeat"}

POINTS: dict[str, tuple[float, ...]] = {
    "fold": (-1.0, -0.75, -0.25, 0.25, 0.75, 1.0),
    "crush": (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0),
    "dead-zone": (-1.0, -0.2, 0.3, 1.0),
}


def shape(task: str, x: Signal) -> Signal:
    """Return what a circuit makes of x in [-1, 1].

    - fold: a gain of 4, and every excursion past 1 or -1 folded back; continuous.
    - crush: the eight levels of 3 bits, the middle of each eighth.
    - dead-zone: nothing from -0.2 to 0.3, and the signal itself outside, so that it jumps at both ends.
    """
    match task:
        case "fold":
            return np.asarray(np.abs((4 * x - 1) % 4 - 2) - 1)
        case "crush":
            return np.asarray((np.clip(np.floor(4 * x), -4, 3) + 0.5) / 4)
        case "dead-zone":
            return np.where((x >= -0.2) & (x < 0.3), 0.0, x)
        case _:
            raise ValueError(f"task must be one of {', '.join(POINTS)}, got {task!r}")


def rows_of(setup: Setup, seed: int, root: Root) -> Rows:
    """Return the rows of a task: each sample is a row.

    Args:
        setup: its task and number of rows.
        seed: of the choice of rows, where not all are taken.
        root: where ``audio/`` lies.

    Raises:
        DataError: if a recording is not there, or damaged.
    """
    train = together([_part(setup.task, recording(root, name)[0]) for name in TRAIN])
    tests = {name: recording(root, file) for name, file in TESTS.items()}
    return Rows(
        train=some(train, setup.rows, seed),
        tests={name: _part(setup.task, samples) for name, (samples, _) in tests.items()},
        points=POINTS[setup.task],
        rate=tests["guitar"][1],
    )


def recording(root: Root, name: str) -> tuple[Signal, float]:
    """Return a recording, mono, its peak at 1, and its samples a second."""
    return sound(root, f"{FOLDER}/{name}.flac")


def _part(task: str, x: Signal) -> Part:
    return part_of(x[:, None], x, shape(task, x))


def keep(setup: Setup, model: nn.Module, rows: Rows, results: Path, name: str) -> None:
    """Write the transfer curve of a run, and of contestants that are played on the page, the sounds."""
    keep_curves(setup, model, rows, results, name)
    if setup.contestant in PLAYED:
        keep_sounds(setup, model, rows, results)


reproduce = reproducer(rows_of, keep)
