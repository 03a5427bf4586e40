"""Move each point among the rows near it, and choose again among the moved ones.

The candidates of a first choice lie apart, and a range cut a few rows beside a real edge carries those rows as errors.
A first choice pays for that with slivers: extra ranges that hold nothing but misplaced rows. Once the points have moved
to the edges the slivers are worth nothing; an exact choice among all moved points, those of every number of ranges,
merges them away, and also hands an edge that one number of ranges has found to the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.segments.exact import best_cuts
from hardgrad.segments.proxy import segment_losses, split_losses
from hardgrad.segments.rows import Path, Rows

STEPS = 16  # positions tried at a time in each window
PASSES = 20  # where points push each other along; two to four are usual
ROUNDS = 4

Window = tuple[int, int, int]  # where the range before begins, the cut, where the range after ends


def refined(rows: Rows, path: Path, most: int, grid: Tensor) -> Path:
    """Return for each number of ranges its cuts moved and merged until neither gains; grid is where they came from."""
    reach = max(2, round(1.5 * rows.n / (len(grid) + 1)))
    spare = {*grid[::4].tolist()}  # places for more ranges than the moved cuts leave room for
    places: dict[Window, int] = {}
    for _ in range(ROUNDS):
        moved = move(rows, path, reach, places)
        pool = torch.tensor(sorted(spare.union(*moved.values())), dtype=torch.int64)
        path = best_cuts(segment_losses(rows, pool), pool, most)
        if path == moved:
            break
    return path


def move(rows: Rows, path: Path, reach: int, places: dict[Window, int]) -> Path:
    """Return the path with each cut at its best place between its neighbours, within reach of where it was.

    Every second cut moves at once, for all numbers of ranges: given the others they do not touch each other.
    ``places`` keeps the best place of each window that was looked at.
    """
    path = {ranges: list(cuts) for ranges, cuts in path.items()}
    for _ in range(PASSES):
        before = {ranges: list(cuts) for ranges, cuts in path.items()}
        for parity in (0, 1):
            windows = {
                (ranges, k): ([0, *cuts][k], cuts[k], [*cuts, rows.n][k + 1])
                for ranges, cuts in path.items()
                for k in range(parity, len(cuts), 2)
            }
            new = sorted({window for window in windows.values() if window not in places})
            for window, cut in zip(new, best_within_reach(rows, new, reach), strict=True):
                places[window] = cut
            for (ranges, k), window in windows.items():
                path[ranges][k] = places[window]
        if path == before:
            break
    return path


def best_within_reach(rows: Rows, windows: list[Window], reach: int) -> list[int]:
    """Return each window's best cut within reach of its cut, by ever finer steps."""
    if not windows:
        return []
    low, cut, high = torch.tensor(windows).T
    while True:
        begin = torch.maximum(cut - reach, low + rows.least)
        end = torch.minimum(cut + reach, high - rows.least)
        tried = _tried(rows, begin, cut, end)
        losses = split_losses(rows, torch.cat([low[:, None], tried, high[:, None]], 1))
        here = losses.gather(1, (tried == cut[:, None]).long().argmax(1, keepdim=True))
        # Rounding alone must not move a cut, or two passes could hand it to and fro.
        best = losses.min(1, keepdim=True)
        gains = best.values < here * (1 - 1e-12) - 1e-14 * (high - low)[:, None]
        cut = torch.where(gains, tried.gather(1, best.indices), cut[:, None])[:, 0]
        step = -(-2 * reach // (STEPS - 1))
        if step <= 1:
            return cut.tolist()
        reach = step


def _tried(rows: Rows, begin: Tensor, cut: Tensor, end: Tensor) -> Tensor:
    share = torch.linspace(0, 1, STEPS - 1, dtype=torch.float64)
    spread = (begin[:, None] + share * (end - begin)[:, None]).round().long()
    places = rows.snapped(spread)  # rounds up, past the end where keys are tied
    places = torch.where(places <= end[:, None], places, cut[:, None])
    return torch.cat([places, cut[:, None]], 1).sort(1).values
