"""The points between ranges: given, searched or spread evenly over the rows; and what they leave empty."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import hardgrad as hg
from hardgrad_lab.fit.rows import Array

FEWEST = 20  # rows a range needs before one asks for more ranges
LEAST_SHARE = 0.02  # of the rows, in a range that a search may find
FEWEST_SEARCHED, MOST_SEARCHED = 2_000, 20_000  # rows a search looks at: 0.4 s with 4 inputs, 10 s with 40


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


def search_points(
    key: Array,
    inputs: Array,
    target: Array,
    ranges: int,
    *,
    block: int,
    seed: int,
    degree: int = 1,
    weight: Array | None = None,
) -> tuple[list[float], hg.FoundRanges | None]:
    """Return the points between which different models explain the target, and how they were found.

    Args:
        key: (n,).
        inputs: (n, F).
        target: (n,) or (n, C).
        ranges: how many at most.
        block: consecutive rows that are held out together.
        seed: of the search.
        degree: of the models along the key; 1 for branches that are lines.
        weight: (n,), above 0, what each row counts for.

    Returns:
        Points that span all keys; one range where more are of no use, or the rows are too few to tell.
    """
    most = max(FEWEST_SEARCHED, min(MOST_SEARCHED, MOST_SEARCHED * 10 // inputs.shape[1]))
    if len(key) > most * block:
        # Whole blocks, evenly spread: held-out rows must stay apart from the rows beside them.
        starts = np.linspace(0, len(key) - block, most // block).astype(np.int64)
        chosen = (starts[:, None] + np.arange(block)).reshape(-1)
    else:
        chosen = np.arange(len(key))
    data = [torch.from_numpy(np.ascontiguousarray(part[chosen])) for part in (inputs, key, target)]
    weights = None if weight is None else torch.from_numpy(weight[chosen])
    found = _found(data, degree, max_ranges=ranges, block=block, weights=weights, seed=seed)
    if found is None:
        return spread_points(key, 1), None
    low, high = float(key.min()), float(key.max())
    return [low, *(point for point in found.points[1:-1] if low < point < high), high], found


def _found(data: Sequence[torch.Tensor], degree: int, *, seed: int, **options: Any) -> hg.FoundRanges | None:
    """Return what a search finds, with lines where the rows are too few for curves; None, and say so, if for both."""
    reason = ""
    for each in dict.fromkeys((degree, 1)):
        generator = torch.Generator().manual_seed(seed)
        try:
            return hg.search_ranges(*data, degree=each, least_share=LEAST_SHARE, generator=generator, **options)
        except ValueError as error:  # a key that never varies, or fewer rows than a range needs
            reason = str(error).partition(": ")[2]
    warnings.warn(f"no points were searched, and there is one range: {reason}", UserWarning, stacklevel=6)
    return None


def count_ranges(points: Sequence[float], key: Array) -> list[int]:
    """Return how many rows fall into each range."""
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
    """Return whether all points are finite, so that ranges can be normalized."""
    return all(map(math.isfinite, points))
