"""Learned points that pay: a point moves where held-out rows are served better for it, and stays where they are not."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.fit.training.task import Task

FEWEST = 20  # training rows that a moved point must leave each range beside it
PLACED = 10_000  # rows by which points are placed, and rows by which a move is judged
# A point's first move must gain so many standard errors on held-out rows, since half of all moves that gain nothing
# look as if they did; once it has paid to leave its first place, each further move must only gain.
ERRORS = 2.0


@torch.no_grad()
def move_points(switch: hg.Switch, task: Task, window: float, first: tuple[float, ...]) -> bool:
    """Move points to where the branches, as they are, serve the training rows best, if that pays on held-out ones.

    Args:
        switch: on learned ranges.
        task: its held-out rows judge each point by itself.
        window: how far a point may move, as ``hg.switch.refine``.
        first: the points that learning began with.

    Returns:
        Whether any point moved.
    """
    ranges = switch.ranges
    assert isinstance(ranges, hg.LearnedRanges)
    before = ranges.inner.detach().clone()
    _place(switch, task, window)
    wanted = ranges.inner.detach().clone()
    ranges.inner.copy_(before)
    if not len(task.held_out) or bool((wanted == before).all()):
        return False
    held = _some(task.held_out)
    losses = branch_losses(switch, task, held)
    key = task.rows.key[held]
    train = task.rows.key[task.train]
    for i in 2 * [*range(len(before))]:  # a neighbour that moved may have made room
        old, stood = ranges.index(key), float(ranges.inner[i])
        errors = ERRORS if stood == first[i + 1] else 0.0
        ranges.inner[i] = wanted[i]
        if not (_in_order(ranges) and _rows_enough(ranges, train, i) and _pays(losses, old, ranges.index(key), errors)):
            ranges.inner[i] = stood
    return bool((ranges.inner != before).any())


def branch_losses(switch: hg.Switch, task: Task, rows: Tensor) -> Tensor:
    """Return what each branch would lose on each row, weighted, (N, len(rows))."""
    x = task.rows.take(rows)[0]
    losses = []
    for i, branch in enumerate(switch.branches):
        own = switch.scaled(x.clone(), torch.full((len(rows),), i, device=x.device))
        loss = task.loss_of_rows(branch(own), task.target[rows]).double()
        losses.append(loss if task.weight is None else loss * task.weight[rows])
    return torch.stack(losses)


def sentence_of(before: tuple[float, ...], after: tuple[float, ...]) -> str | None:
    """Return a sentence on the inner points that stayed where they were; None if all moved, or there are none."""
    stayed = [f"{a:g}" for a, b in zip(before[1:-1], after[1:-1], strict=True) if a == b]
    if not stayed:
        return None
    moved = [f"{a:g} to {b:g}" for a, b in zip(before[1:-1], after[1:-1], strict=True) if a != b]
    said = f"learn_points moved {', '.join(moved)}; " if moved else ""
    which = "no point was moved" if not moved else f"{', '.join(stayed)} stayed"
    return f"{said}{which}: elsewhere held-out rows would not be predicted better"


def _place(switch: hg.Switch, task: Task, window: float) -> None:
    rows = _some(task.train)
    x, key = task.rows.take(rows)
    target = task.target[rows]
    if task.weight is None:
        hg.switch.refine(switch, x, key, target, task.loss_of_rows, window=window)
        return
    # Target and weight side by side, since what is placed is sorted by key inside.
    columns = target.reshape(len(rows), -1)
    both = torch.cat([columns.double(), task.weight[rows, None].double()], 1)

    def loss(output: Tensor, wanted: Tensor) -> Tensor:
        own = wanted[:, :-1].to(target.dtype).reshape(-1, *target.shape[1:])
        return task.loss_of_rows(output, own) * wanted[:, -1].to(output.dtype)

    hg.switch.refine(switch, x, key, both, loss, window=window)


def _some(rows: Tensor) -> Tensor:
    return rows[torch.linspace(0, len(rows) - 1, min(PLACED, len(rows))).long().to(rows.device)]


def _in_order(ranges: hg.LearnedRanges) -> bool:
    points = [ranges.points[0], *ranges.inner.tolist(), ranges.points[-1]]
    return all(a < b for a, b in pairwise(points))


def _rows_enough(ranges: hg.LearnedRanges, key: Tensor, i: int) -> bool:
    counts = torch.bincount(ranges.index(key), minlength=len(ranges))
    return int(counts[i : i + 2].min()) >= FEWEST


def _pays(losses: Tensor, old: Tensor, new: Tensor, errors: float) -> bool:
    changed = (old != new).nonzero()[:, 0]
    gain = losses[old[changed], changed] - losses[new[changed], changed]
    return float(gain.sum()) > errors * float(gain.square().sum().sqrt())
