"""The points between ranges: given, searched or spread evenly over the rows; and what they leave empty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import hardgrad as hg
from hardgrad_lab.tabular.rows import Array

FEWEST = 20  # rows a range needs before one asks for more ranges


def spread_points(key: Array, ranges: int) -> list[float]:
    """Return points that put as many rows in each range, fewer where the key repeats itself too often.

    Args:
        key: (n,).
        ranges: how many at most.
    """
    wanted = max(1, min(ranges, len(key) // FEWEST))
    points = np.unique(np.quantile(key, np.linspace(0, 1, wanted + 1))).tolist()
    if len(points) > 1:
        return [float(point) for point in points]
    low = float(points[0])
    return [low, low + max(1.0, abs(low))]  # a key that never varies: one range


def search_points(key: Array, inputs: Array, target: Array, ranges: int, seed: int) -> list[float]:
    """Return the points that serve a model of the target best, one range where ranges are of no use.

    Args:
        key: (n,).
        inputs: (n, F).
        target: (n,) or (n, C).
        ranges: how many at most.
        seed: of the search.
    """
    del inputs, target, seed
    return spread_points(key, ranges)


def count_ranges(points: Sequence[float], key: Array) -> list[int]:
    """Return how many rows fall into each range."""
    import torch

    ranges = hg.Ranges(points)
    return [int(n) for n in torch.bincount(ranges.index(torch.from_numpy(key.copy())), minlength=len(ranges))]


def empty_ranges(points: Sequence[float], key: Array) -> list[str]:
    """Return one sentence for each range without a row: which, the bounds of the data, and what to do."""
    ranges = hg.Ranges(points)
    said = []
    for i, count in enumerate(count_ranges(points, key)):
        if count == 0:
            said.append(
                f"no row has a key in range {i}, {ranges.label(i)}: the data's keys run from {key.min():g} to "
                f"{key.max():g}; remove one of its points, or give rows with such keys"
            )
    return said


def outside_share(points: Sequence[float], key: Array) -> float:
    """Return the share of the rows whose key is below the first point or above the last."""
    return float(((key < points[0]) | (key > points[-1])).mean())


def finite(points: Sequence[float]) -> bool:
    """Return whether all points are finite, so that ranges can be normalised."""
    return all(map(math.isfinite, points))
