"""A range that is not needed where it is, moved to where one is missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.rows import Routed

LEAST_ROWS = 8  # on either side of a cut; fewer say nothing of a slope


@dataclass(frozen=True)
class Relocated:
    """What ``relocate`` did.

    Args:
        given_up: the range that its neighbours took over, numbered as before.
        split: the range that got a second branch, numbered as before.
        at: where it was split.
        cost: sum of squared errors that giving up adds.
        gain: sum of squared errors that a break there explains.
    """

    given_up: int
    split: int
    at: float
    cost: float
    gain: float


@torch.inference_mode(False)
@torch.no_grad()
def move_range(
    branches: Branches,
    ranges: LearnedRanges,
    batch: Routed,
    target: Tensor,
    optimizer: torch.optim.Optimizer | None,
    worth: float,
) -> Relocated | None:
    """Move the range that is needed least to where a break is missed most, if that is worth it; target: (M, ...)."""
    order = batch.key.double().argsort()
    rows, key, index, target = batch.rows[order], batch.key.double()[order], batch.branch[order], target[order]
    costs = [_give_up(branches, rows, index, target, i) for i in range(len(ranges))]
    gains = [_break(branches, rows, key, index, target, j) for j in range(len(ranges))]
    i, j = max(
        ((i, j) for i in range(len(ranges)) for j in range(len(ranges)) if i != j),
        key=lambda pair: gains[pair[1]][0] - worth * costs[pair[0]][0],
        default=(0, 0),
    )
    (cost, cut), (gain, at) = costs[i], gains[j]
    if i == j or not gain > worth * cost:
        return None
    points = list(ranges.points[1:-1])
    end = _end(ranges.points, key, index, i, cut)
    left = points[: max(i - 1, 0)] + ([end] if 0 < i < len(ranges) - 1 else []) + points[i + 1 if i else 1 :]
    _move_weights(branches, optimizer, i, j)
    ranges.inner.copy_(ranges.inner.new_tensor(sorted([*left, at])))
    return Relocated(i, j, at, cost, gain)


def _errors(branches: Branches, rows: Tensor, mine: Tensor, wanted: Tensor, by: int) -> Tensor:
    """Return the difference between branch ``by`` and the targets, on the rows at positions ``mine``: (M, outputs)."""
    y = branches.predict(rows[mine], torch.full_like(mine, by))
    if y.shape[1:] != wanted.shape[1:]:
        raise ValueError(
            f"relocate: target must have the outputs' shape {tuple(y.shape[1:])} for each row, got "
            f"{tuple(wanted.shape[1:])}; add or drop a dimension"
        )
    return (y - wanted[mine]).double().flatten(1)


def _give_up(branches: Branches, rows: Tensor, index: Tensor, wanted: Tensor, i: int) -> tuple[float, int]:
    """Return what it costs if the neighbours take over range i, and how many of its rows the lower one should take."""
    mine = (index == i).nonzero()[:, 0]
    own = _errors(branches, rows, mine, wanted, i).square().sum(1)
    worst = torch.full_like(own, torch.inf)
    below, above = (
        _errors(branches, rows, mine, wanted, by).square().sum(1) if 0 <= by < len(branches.modules) else worst
        for by in (i - 1, i + 1)
    )
    zero = own.new_zeros(1)
    up_to = torch.cat([zero, below.cumsum(0)])  # infinite from one row on where there is no range below
    from_on = torch.cat([above.flip(0).cumsum(0).flip(0), zero])
    total, cut = (up_to + from_on).min(0)
    return float(total - own.sum()), int(cut)


def _break(branches: Branches, rows: Tensor, key: Tensor, index: Tensor, wanted: Tensor, j: int) -> tuple[float, float]:
    """Return how much squared error one break in range j explains beyond a straight line, and where the break is."""
    mine = (index == j).nonzero()[:, 0]
    if len(mine) < 2 * LEAST_ROWS:
        return 0.0, 0.0
    left = _errors(branches, rows, mine, wanted, j)
    at = key[mine]
    lower = _line_errors(at, left)
    upper = _line_errors(-at.flip(0), left.flip(0)).flip(0)
    both = lower[LEAST_ROWS - 1 : -LEAST_ROWS] + upper[LEAST_ROWS : len(mine) - LEAST_ROWS + 1]
    both = both.masked_fill(at[LEAST_ROWS - 1 : -LEAST_ROWS] == at[LEAST_ROWS : len(mine) - LEAST_ROWS + 1], torch.inf)
    best, where = both.min(0)
    cut = int(where) + LEAST_ROWS
    return float(lower[-1] - best) if best < torch.inf else 0.0, float(at[cut - 1] + at[cut]) / 2


def _line_errors(at: Tensor, y: Tensor) -> Tensor:
    """Return the squared error of the best line through the first m points, for every m from 1 on."""
    at = ((at - at.mean()) / at.std().clamp(min=1e-30)).unsqueeze(1)
    n = torch.arange(1, len(at) + 1, dtype=at.dtype, device=at.device).unsqueeze(1)
    sx, sxx = at.cumsum(0), at.square().cumsum(0)
    sy, syy, sxy = y.cumsum(0), y.square().cumsum(0), (at * y).cumsum(0)
    spread = (sxx - sx.square() / n).clamp(min=1e-9)
    explained = (sxy - sx * sy / n).square() / spread
    return (syy - sy.square() / n - explained).clamp(min=0).sum(1)


def _end(points: tuple[float, ...], key: Tensor, index: Tensor, i: int, cut: int) -> float:
    """Return the point that parts the neighbours of a range given up: its rows before ``cut`` go to the lower one."""
    mine = key[index == i]
    if cut == 0:
        return points[i]
    return points[i + 1] if cut == len(mine) else float(mine[cut - 1] + mine[cut]) / 2


def _move_weights(branches: Branches, optimizer: torch.optim.Optimizer | None, i: int, j: int) -> None:
    """Copy what range j has into a range beside it, and what lay between on by one place, over what range i had."""
    step = 1 if i < j else -1
    for to in range(i, j, step):
        mine, theirs = branches.modules[to], branches.modules[to + step]
        for parameter, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            parameter.copy_(other)
            if optimizer is not None:
                _copy_state(optimizer, parameter, other)
        for buffer, their_buffer in zip(mine.buffers(), theirs.buffers(), strict=True):
            buffer.copy_(their_buffer)
        branches.scales.copy(to, to + step)


def _copy_state(optimizer: torch.optim.Optimizer, to: Tensor, of: Tensor) -> None:
    if of not in optimizer.state:
        optimizer.state.pop(to, None)
        return
    for name, value in optimizer.state[of].items():
        mine = optimizer.state[to].get(name)
        if isinstance(mine, Tensor) and isinstance(value, Tensor):
            mine.copy_(value)
        else:
            optimizer.state[to][name] = value.clone() if isinstance(value, Tensor) else value


def check_alike(branches: Branches) -> None:
    """Raise if the branches are not of one architecture."""
    first = [parameter.shape for parameter in branches.modules[0].parameters()]
    for i, branch in enumerate(branches.modules):
        shapes = [parameter.shape for parameter in branch.parameters()]
        if shapes != first:
            raise ValueError(f"relocate: branches must have one architecture, but branch {i} differs from branch 0")
