"""Static maps of linear pieces: the benchmark of the author's talk, and the random toy of his program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardgrad_lab.data.recordings import Signal
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.piecewise import RATE
from hardgrad_lab.experiments.switches.rows import Part, Rows, part_of, some
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.train import reproducer

# The talk says "five-piece linear map" and shows no numbers. Ours is continuous, its pieces uneven and up and down.
TALK_POINTS = (-1.0, -0.6, -0.3, 0.2, 0.7, 1.0)
TALK_SLOPES = (0.5, 2.0, -1.2, 1.5, -0.4)
TALK_SAMPLES = 720_000

TOY_RATE, TOY_SECONDS = 48_000, 0.1
TOY_TRAIN_HZ, TOY_TEST_HZ = (100.0, 130.0), (90.0, 170.0)
TOY_TEST_SECONDS = 0.4


def rows_of(setup: Setup, seed: int, root: Root) -> Rows:
    """Return the rows of a task; the toy's map is drawn anew for each seed.

    Args:
        setup: its task and number of rows.
        seed: of the draw.
        root: not used, as everything is made by formula.
    """
    del root
    return _talk(setup, seed) if setup.task == "talk" else _toy(setup, seed)


def talk_map(x: Signal) -> Signal:
    """Return the five-piece map of x: 0 at the first point, and straight lines between the others."""
    widths = np.diff(TALK_POINTS)
    heights = np.concatenate([[0.0], np.cumsum(widths * np.array(TALK_SLOPES))])
    return np.asarray(np.interp(x, TALK_POINTS, heights))


def _talk(setup: Setup, seed: int) -> Rows:
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, TALK_SAMPLES)
    cut = int(0.8 * TALK_SAMPLES)
    parts = [_part(inputs, talk_map(inputs)) for inputs in (x[:cut], x[cut:])]
    return Rows(train=some(parts[0], setup.rows, seed), tests={"test": parts[1]}, points=TALK_POINTS, rate=RATE)


def toy_map(seed: int) -> tuple[tuple[float, ...], list[tuple[float, float]]]:
    """Return the points and the four lines (slope, height at 0) of a toy.

    As published: three inner points uniform in (-1, 1), slopes and heights whole numbers from -4 to 3. Redrawn here
    where two points are closer than 0.1, which leaves a range without rows, or where all lines are the zero line.
    """
    random = np.random.default_rng(seed)
    while True:
        points = np.sort(np.concatenate([random.uniform(-1, 1, 3), [-1.0, 1.0]]))
        lines = random.integers(-4, 4, size=(4, 2))
        if np.diff(points).min() >= 0.1 and np.abs(lines).sum(axis=1).min() > 0:
            return tuple(points.tolist()), [(float(a), float(b)) for a, b in lines]


def pieces(x: Signal, points: Sequence[float], lines: Sequence[tuple[float, float]]) -> Signal:
    """Return the line of each x's range at x; the ranges are closed on the left."""
    index = np.searchsorted(points[1:-1], x, side="right")
    slope, height = (np.array(values)[index] for values in zip(*lines, strict=True))
    return np.asarray(slope * x + height)


def _toy(setup: Setup, seed: int) -> Rows:
    points, lines = toy_map(seed)
    scale = np.abs(pieces(np.linspace(-1, 1, 10_001), points, lines)).max()

    def part(hertz: Sequence[float], seconds: float) -> Part:
        time = np.arange(0, seconds, 1 / TOY_RATE)
        x = sum(np.sin(2 * np.pi * pitch * time) for pitch in hertz)
        x = x / np.abs(x).max()
        return _part(x, pieces(x, points, lines) / scale)

    train = some(part(TOY_TRAIN_HZ, TOY_SECONDS), setup.rows, seed)
    return Rows(train=train, tests={"test": part(TOY_TEST_HZ, TOY_TEST_SECONDS)}, points=points, rate=RATE)


def _part(x: Signal, y: Signal) -> Part:
    return part_of(x[:, None], x, y)


reproduce = reproducer(rows_of)
