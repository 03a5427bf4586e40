"""Static circuits with real breaks, driven by real guitars and drums: wavefolder, 3-bit crusher, dead zone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hardgrad_lab.experiments.switches.data import Part, Rows, Signal, find, part_of, some, together
from hardgrad_lab.experiments.switches.settings import Setup

FOLDER = "audio/sonicpi_clean"
TRAIN = ("guit_em9", "guit_e_fifths", "loop_amen_full", "drum_heavy_kick")
TESTS = {"guitar": "guit_harmonics", "drums": "loop_breakbeat"}
OFF = 0.3  # of a wrong point

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


def wrong_points(points: tuple[float, ...]) -> tuple[float, ...]:
    """Return the points with the inner ones 30 % off: nearer to zero, and a point at zero 30 % into its range.

    Nearer and not further, since the outermost range would else begin past the loudest sample and have no row to learn
    from.

    Example:
        >>> wrong_points((-1.0, 0.0, 0.5, 1.0))
        (-1.0, 0.15, 0.35, 1.0)
    """
    inner = [(1 - OFF) * point if point else OFF * (points[i + 2] - point) for i, point in enumerate(points[1:-1])]
    return (points[0], *inner, points[-1])


def near_points(points: tuple[float, ...]) -> tuple[float, ...]:
    """Return the points with the inner ones off by 30 %, of themselves or of the narrower range beside, what is less.

    A point 30 % off may be nearer to the next break than to its own; these are not.

    Example:
        >>> near_points((-1.0, 0.0, 0.5, 1.0))
        (-1.0, 0.15, 0.35, 1.0)
    """
    inner = []
    for low, point, high in zip(points, points[1:], points[2:], strict=False):
        narrow = min(point - low, high - point)
        inner.append(point - OFF * min(abs(point), narrow) * (1 if point > 0 else -1) if point else OFF * narrow)
    return (points[0], *inner, points[-1])


def deviation(found: Sequence[float], true: Sequence[float]) -> float:
    """Return how far the worst inner point is from the nearest one found.

    It is a share of the point itself, and for a point at zero, of its range's width.

    Example:
        >>> round(deviation([-1.0, 0.01, 0.6, 1.0], [-1.0, 0.0, 0.5, 1.0]), 3)
        0.2
    """
    widths = [abs(point) or true[i + 2] - point for i, point in enumerate(true[1:-1])]
    distances = [min((abs(other - point) for other in found[1:-1]), default=2.0) for point in true[1:-1]]
    return max((distance / width for distance, width in zip(distances, widths, strict=True)), default=0.0)


def rows_of(setup: Setup, seed: int, folder: Path | None) -> Rows:
    """Return the rows of a task: each sample is a row.

    Args:
        setup: its task and number of rows.
        seed: of the choice of rows, where not all are taken.
        folder: that holds ``audio/``; None takes the environment variable.

    Raises:
        MissingDataError: if a recording is not there.
    """
    train = together([_part(setup.task, recording(folder, name)[0]) for name in TRAIN])
    heard = {what: recording(folder, name) for what, name in TESTS.items()}
    return Rows(
        train=some(train, setup.rows, seed),
        tests={what: _part(setup.task, sound) for what, (sound, _) in heard.items()},
        points=POINTS[setup.task],
        rate=heard["guitar"][1],
    )


def recording(folder: Path | None, name: str) -> tuple[Signal, float]:
    """Return a recording, mono, its peak at 1, and its samples a second."""
    import soundfile

    sound, rate = soundfile.read(find(folder, f"{FOLDER}/{name}.flac"), always_2d=True)
    mono = sound.mean(axis=1)
    return mono / np.abs(mono).max(), float(rate)


def _part(task: str, x: Signal) -> Part:
    return part_of(x[:, None], x, shape(task, x))
