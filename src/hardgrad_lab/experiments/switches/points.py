"""The points of a switch: the true ones, such as are off, learned or searched; and how they learn along a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.switches.rows import Part, Rows, some
from hardgrad_lab.experiments.switches.settings import Setup

OFF = 0.3  # of a wrong point
SEARCH_ROWS = 20_000
SPARE = 3  # ranges that the search may have beyond the true number
LEAST_SHARE = 0.001  # the loudest range of the crusher holds 2 samples in 1,000
CANDIDATES = 256
# Of points that are placed: from when and how often, by how many rows (at the very end by all), when they rest; how
# much the branches' weights decay meanwhile, and till when. Branches that know nothing yet would lead points astray.
# Shares are of the run.
FROM, EVERY, BY, RESTS, DECAY, DECAYS = 0.2, 25, 100_000, 0.8, 1.0, 0.5
MOVES, MOVED = 12, 0.65  # how often in a run a range may move to where one is missing, and till when
WINDOW = 0.1  # how far a point may move at once, of the narrower range beside it at the start
WIDE, NARROW = 1.0, 0.1  # how far points that learn by a gradient look, at first and at last


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


class Learning:
    """How the points of a switch learn along a run; stepped as a schedule is. Other points are left alone.

    Points that are placed move every so often to where the branches as they are predict the rows best, and now and then
    a range that is not needed moves to where one is missing. Weight decay keeps the branches plain meanwhile: one that
    can already bend at a break has no need of a point there. Then the decay ends, the points rest and the branches
    converge. Points with a gradient look far at first and near at last.

    Args:
        setup: of the run.
        model: a switch or a rival.
        optimizer: of its branches, in the first group.
        part: training rows, some of which place the points.
    """

    def __init__(self, setup: Setup, model: nn.Module, optimizer: torch.optim.Optimizer, part: Part) -> None:
        self.switch = learning_switch(model)
        self.by_gradient, self.steps, self.taken = setup.points == "lent", setup.steps, 0
        self.optimizer, self.group = optimizer, optimizer.param_groups[0]
        self.all, self.few = part, some(part, BY, 0)
        self._set()

    @property
    def placed(self) -> hg.LearnedRanges | None:
        """Return the ranges whose points are placed; None if there are none such."""
        ranges = None if self.switch is None or self.by_gradient else self.switch.ranges
        return ranges if isinstance(ranges, hg.LearnedRanges) else None

    def step(self) -> None:
        """Count a step; move the points if it is time."""
        self.taken += 1
        self._set()
        share = self.taken / self.steps
        last = self.taken == self.steps
        if self.switch is None or self.by_gradient or ((self.taken % EVERY or not FROM <= share <= RESTS) and not last):
            return
        part = self.all if last else self.few
        rows = part.x, part.key, part.y
        if self.taken % (self.steps // MOVES) < EVERY and share <= MOVED:
            hg.switch.relocate(self.switch, *rows, self.optimizer)
        hg.switch.refine(self.switch, *rows, _squared_error, window=WINDOW)

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were taken."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.taken = state["taken"]
        self._set()

    def _set(self) -> None:
        share = self.taken / self.steps
        if self.switch is not None and self.by_gradient and isinstance(self.switch.ranges, hg.LearnedRanges):
            self.switch.ranges.band = None if share >= RESTS else WIDE * (NARROW / WIDE) ** (share / RESTS)
        elif self.switch is not None:
            self.group["weight_decay"] = DECAY * max(0.0, 1 - share / DECAYS)


def learning_switch(model: nn.Module) -> hg.Switch | None:
    """Return the model if it is a switch whose points learn."""
    return model if isinstance(model, hg.Switch) and isinstance(model.ranges, hg.LearnedRanges) else None


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(1)
