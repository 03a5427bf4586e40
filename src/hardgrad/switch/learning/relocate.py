"""A range that is not needed where it is, moved to where one is missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.switch.checks import number, row_targets, some_rows
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.learning.gradient import served
from hardgrad.switch.switch import Switch

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
def relocate(
    switch: Switch,
    x: Tensor,
    key: Tensor,
    target: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    worth: float = 2.0,
) -> Relocated | None:
    r"""Move the range that is needed least to where a break is missed most, if that is worth it.

    .. math:: \text{cost}_i = \min_c \sum_{k_b < c} e_{i-1}(b) + \sum_{k_b \ge c} e_{i+1}(b) - \sum_b e_i(b), \qquad
        \text{gain}_j = S_j^{(1)} - \min_c S_j^{(2)}(c)

    over the rows of range i and j; e is the squared error by a branch, and S the squared error that is left of branch
    j's when a line in the key is fitted to it, in one piece or in two that part at c. Points that ``refine`` placed may
    share one break while another has none, and no point runs over others to reach it. The move costs no parameters: the
    branches between i and j hand their weights, their optimizer state and their scale on by one place, and range j's
    two halves go on from the same. Train for some hundred steps before the next call, so that they part. Visits are not
    moved.

    Args:
        switch: a switch on ``LearnedRanges`` with branches of one architecture, for regression: its outputs and the
            targets are compared by their squared difference.
        x: as for the switch.
        key: as for the switch.
        target: of each row, x's leading dimensions first.
        optimizer: that trains the switch; its state moves along. None: it has none worth keeping.
        worth: how many times its cost a move must gain, at least 1.

    Returns:
        What was done, or None where nothing was worth it.

    Raises:
        ValueError: for other ranges, branches of different architectures, no rows, targets of another shape than the
            outputs, or ``worth`` below 1.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.LearnedRanges([0.0, 0.9, 1.0, 3.0]), torch.nn.Linear(1, 1))
        >>> for branch, level in zip(switch.branches, (0.0, 1.0, 1.5)):
        ...     _ = torch.nn.init.zeros_(branch.weight), torch.nn.init.constant_(branch.bias, level)
        >>> x = torch.linspace(0, 3, 301).unsqueeze(1)
        >>> done = hg.switch.relocate(switch, x, x[:, 0], (x >= 1).float() + (x >= 2).float())
        >>> done.given_up, done.split, round(done.at, 2), [round(point, 2) for point in switch.ranges.points]
        (1, 2, 2.0, [0.0, 1.0, 2.0, 3.0])

    Source: the split and merge moves of Ueda, Nakano, Ghahramani and Hinton 2000 (SMEM algorithm for mixture models),
    for ranges in order.
    """
    ranges = getattr(switch, "ranges", None)
    if not isinstance(ranges, LearnedRanges):
        got = type(ranges).__name__ if isinstance(switch, Switch) else type(switch).__name__
        raise ValueError(f"relocate: switch must have LearnedRanges, got {got}; build it on hardgrad.LearnedRanges")
    if not number("relocate", "worth", worth, "2 asks for twice what a move costs") >= 1:
        raise ValueError(f"relocate: worth must be at least 1, got {worth}; 2 asks for twice what a move costs")
    if optimizer is not None:
        _check.instance("relocate", "optimizer", optimizer, torch.optim.Optimizer, "give the switch's own")
    _check_alike(switch)
    rows, key, index, shape = switch.routed(x, key)
    some_rows("relocate", rows)
    order = key.double().argsort()
    rows, key, index = rows[order], key.double()[order], index[order]
    wanted = row_targets("relocate", target, shape)[order]
    costs = [_give_up(switch, rows, index, wanted, i) for i in range(len(ranges))]
    gains = [_break(switch, rows, key, index, wanted, j) for j in range(len(ranges))]
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
    _hand_on(switch, optimizer, i, j)
    ranges.inner.copy_(ranges.inner.new_tensor(sorted([*left, at])))
    return Relocated(i, j, at, cost, gain)


def _errors(switch: Switch, rows: Tensor, mine: Tensor, wanted: Tensor, by: int) -> Tensor:
    """Return the difference between branch ``by`` and the targets, on the rows at positions ``mine``: (M, outputs)."""
    said = served(switch, rows, mine, torch.full_like(mine, by))
    if said.shape[1:] != wanted.shape[1:]:
        raise ValueError(
            f"relocate: target must have the outputs' shape {tuple(said.shape[1:])} for each row, got "
            f"{tuple(wanted.shape[1:])}; add or drop a dimension"
        )
    return (said - wanted[mine]).double().flatten(1)


def _give_up(switch: Switch, rows: Tensor, index: Tensor, wanted: Tensor, i: int) -> tuple[float, int]:
    """Return what it costs if the neighbours serve range i, and how many of its rows the lower one should take."""
    mine = (index == i).nonzero()[:, 0]
    own = _errors(switch, rows, mine, wanted, i).square().sum(1)
    worst = torch.full_like(own, torch.inf)
    below, above = (
        _errors(switch, rows, mine, wanted, by).square().sum(1) if 0 <= by < len(switch.branches) else worst
        for by in (i - 1, i + 1)
    )
    zero = own.new_zeros(1)
    up_to = torch.cat([zero, below.cumsum(0)])  # infinite from one row on where there is no range below
    from_on = torch.cat([above.flip(0).cumsum(0).flip(0), zero])
    total, cut = (up_to + from_on).min(0)
    return float(total - own.sum()), int(cut)


def _break(switch: Switch, rows: Tensor, key: Tensor, index: Tensor, wanted: Tensor, j: int) -> tuple[float, float]:
    """Return how much squared error one break in range j explains beyond a straight line, and where the break is."""
    mine = (index == j).nonzero()[:, 0]
    if len(mine) < 2 * LEAST_ROWS:
        return 0.0, 0.0
    left = _errors(switch, rows, mine, wanted, j)
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


def _hand_on(switch: Switch, optimizer: torch.optim.Optimizer | None, i: int, j: int) -> None:
    """Copy what range j has into a range beside it, and what lay between on by one place, over what range i had."""
    step = 1 if i < j else -1
    for to in range(i, j, step):
        for mine, theirs in zip(switch.branches[to].parameters(), switch.branches[to + step].parameters(), strict=True):
            mine.copy_(theirs)
            if optimizer is not None:
                _copy_state(optimizer, mine, theirs)
        for buffer, its in zip(switch.branches[to].buffers(), switch.branches[to + step].buffers(), strict=True):
            buffer.copy_(its)
        if switch.normalize is not None:
            for scale in (switch.normalize.center, switch.normalize.half_width):
                scale[to] = scale[to + step]


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


def _check_alike(switch: Switch) -> None:
    first = [parameter.shape for parameter in switch.branches[0].parameters()]
    for i, branch in enumerate(switch.branches):
        shapes = [parameter.shape for parameter in branch.parameters()]
        if shapes != first:
            raise ValueError(f"relocate: branches must have one architecture, but branch {i} differs from branch 0")
