"""The points of a switch: the true ones, such as are off by a share, and such as are searched in the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import hardgrad as hg
from hardgrad_lab.experiments.switches.rows import Rows, some
from hardgrad_lab.experiments.switches.settings import Setup

OFF = 0.3  # of a wrong point
WIDE = 1.0  # how far points that learn by a lent gradient look at first
SEARCH_ROWS = 20_000
SPARE = 3  # ranges that the search may have beyond the true number
LEAST_SHARE = 0.001  # the loudest range of the crusher holds 2 samples in 1,000
CANDIDATES = 256


def ranges_of(setup: Setup, rows: Rows) -> hg.switch.PointRouter:
    """Return the ranges that a configuration asks for.

    Args:
        setup: its points.
        rows: of the run, with the true points.
    """
    match setup.points:
        case "given":
            return hg.Ranges(rows.points)
        case "wrong":
            return hg.Ranges(wrong_points(rows.points))
        case "learnt":
            return hg.LearnedRanges(wrong_points(rows.points), band=None)
        case "lent":
            return hg.LearnedRanges(wrong_points(rows.points), band=WIDE)
        case "near":
            return hg.Ranges(near_points(rows.points))
        case "learnt-near":
            return hg.LearnedRanges(near_points(rows.points), band=None)
        case "searched":
            return hg.Ranges(_searched(rows))


def _searched(rows: Rows) -> tuple[float, ...]:
    """Return points found in a part of the training rows; the outermost are the true ones."""
    few = some(rows.train, SEARCH_ROWS, 0)
    result = hg.search_ranges(
        few.x.cpu(),
        few.key.cpu(),
        few.y.cpu(),
        max_ranges=len(rows.points) + SPARE,
        least_share=LEAST_SHARE,
        candidates=CANDIDATES,
        generator=torch.Generator().manual_seed(0),
    )
    return (rows.points[0], *result.points[1:-1], rows.points[-1])


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


def deviation(points: Sequence[float], true: Sequence[float]) -> float:
    """Return how far the worst inner point is from the nearest one of ``points``.

    It is a share of the point itself, and for a point at zero, of its range's width.

    Example:
        >>> round(deviation([-1.0, 0.01, 0.6, 1.0], [-1.0, 0.0, 0.5, 1.0]), 3)
        0.2
    """
    widths = [abs(point) or true[i + 2] - point for i, point in enumerate(true[1:-1])]
    distances = [min((abs(other - point) for other in points[1:-1]), default=2.0) for point in true[1:-1]]
    return max((distance / width for distance, width in zip(distances, widths, strict=True)), default=0.0)
