"""Where to cut, for each number of ranges: equal counts, the exact best over candidates, greedy splits, or your own."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.segments.exact import best_cuts, candidates_of
from hardgrad.segments.gradient import Gradient
from hardgrad.segments.proxy import range_losses, segment_losses, split_losses
from hardgrad.segments.refine import refined
from hardgrad.segments.rows import Path, Rows

Name = Literal["dynamic_programming", "tree", "quantile", "gradient"]
Policy = Callable[[Rows, int], Path]
PointPolicy = Callable[[Tensor, Tensor, Tensor, int], Sequence[float]]  # (x, key, target, ranges)


def quantile(rows: Rows, most: int) -> Path:
    """Return points of equal count, not moved: a choice that looks at the key alone."""
    path = Path({1: []})
    for ranges in range(2, most + 1 if len(rows.places) else 0):
        cuts = rows.snapped(torch.linspace(0, rows.n, ranges + 1)[1:-1].round().long()).tolist()
        if rows.legal(cuts):
            path[ranges] = cuts
    return path


def dynamic_programming(candidates: int) -> Policy:
    """Return the policy that is exact over the candidates, then moves and merges."""

    return functools.partial(_exact, candidates)


def _exact(candidates: int, rows: Rows, most: int) -> Path:
    grid = candidates_of(rows, candidates)
    return refined(rows, best_cuts(segment_losses(rows, grid), grid, most), most, grid)


def tree(candidates: int) -> Policy:
    """Return the policy that splits greedily, the split with the greatest gain first, then moves and merges."""

    return functools.partial(_greedy, candidates)


def _greedy(candidates: int, rows: Rows, most: int) -> Path:
    grid = candidates_of(rows, candidates)
    path = Path({1: []})
    offers = [_best_split(rows, grid, 0, rows.n)]
    while len(path) < most and (chosen := max(offers))[0] > 0:
        _, low, cut, high = chosen
        offers.remove(chosen)
        offers += [_best_split(rows, grid, low, cut), _best_split(rows, grid, cut, high)]
        path[len(path) + 1] = sorted([*path[len(path)], cut])
    return refined(rows, path, most, grid)


def _best_split(rows: Rows, grid: Tensor, low: int, high: int) -> tuple[float, int, int, int]:
    inside = grid[(grid >= low + rows.least) & (grid <= high - rows.least)]
    if not len(inside):
        return 0.0, low, low, high
    ends = torch.tensor([low, high])
    losses = split_losses(rows, torch.cat([ends[:1], inside, ends[1:]])[None])[0]
    best = int(losses.argmin())
    return float(range_losses(rows, ends[:1], ends[1:]) - losses[best]), low, int(inside[best]), high


def of_points(choose: PointPolicy) -> Policy:
    """Return the policy of a user's function (x, key, target, ranges) -> inner points; its points stay put."""

    return functools.partial(_of_points, choose)


def _of_points(choose: PointPolicy, rows: Rows, most: int) -> Path:
    path = Path({1: []})
    for ranges in range(2, most + 1):
        # The rows must not change, whatever the function does with what it gets.
        x, target = rows.raw()
        points = _numbers(choose(x, rows.key.clone(), target, ranges), ranges)
        cuts = [rows.cut(point) for point in points]
        if rows.legal(cuts):
            path[ranges] = cuts
    return path


POLICIES: dict[str, Callable[[int], Policy]] = {
    "dynamic_programming": dynamic_programming,
    "tree": tree,
    "quantile": lambda candidates: quantile,
    "gradient": lambda candidates: of_points(Gradient()),
}


def policy_of(policy: str | PointPolicy, candidates: int) -> Policy:
    """Return the policy of a name or of a user's function, or raise a ValueError."""
    if callable(policy):
        return of_points(policy)
    _check.one_of("search_ranges", "policy", policy, tuple(POLICIES))
    return POLICIES[policy](candidates)


def _numbers(points: Sequence[float], ranges: int) -> list[float]:
    rule = f"search_ranges: a policy must return {ranges - 1} inner points for {ranges} ranges"
    try:
        numbers = sorted(float(point) for point in points)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{rule}, as numbers, got {points!r}") from None
    if len(numbers) != ranges - 1:
        raise ValueError(f"{rule}, got {numbers}")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{rule}, all finite, got {numbers}")
    return numbers
