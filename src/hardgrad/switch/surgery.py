"""Ranges split, joined and warm-started in the middle of training, with their weights and their optimizer's state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hardgrad.switch.branches import clone
from hardgrad.switch.checks import number, whole
from hardgrad.switch.conditions.condition import one_of
from hardgrad.switch.conditions.on_points import PointRouter

if TYPE_CHECKING:
    from hardgrad.switch.switch import Switch

Optimizer = torch.optim.Optimizer


@torch.inference_mode(False)  # what is made here is trained later
def split(switch: Switch, i: int, at: float, optimizer: Optimizer | None = None) -> None:
    """Split range i in two at a point; both halves go on from its weights and its optimizer state.

    Right after it the switch computes what it did before: both halves also keep the scale that ``normalize`` maps their
    rows with. Visits are halved, since how they fell is not known.

    Args:
        switch: a switch on ``Ranges`` or ``LearnedRanges``.
        i: the range.
        at: the new point, inside the range.
        optimizer: that trains the switch: the new branch joins the group of the old, with a copy of its momenta and
            step counts. None: build an optimizer anew.

    Raises:
        ValueError: for other routers, a range that is not there, a point outside it, or an optimizer that does not
            train the branch. Nothing is changed then.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
        >>> optimizer = torch.optim.Adam(switch.parameters())
        >>> switch.split(1, at=1.5, optimizer=optimizer)
        >>> switch.ranges.points, len(optimizer.param_groups[0]["params"])
        ((0.0, 1.0, 1.5, 2.0), 6)
        >>> bool(switch.branch(1).weight == switch.branch(2).weight)
        True
    """
    ranges = _ranges(switch, "split", i=i)
    at = number("Switch.split", "at", at, "give a point inside the range")
    _check_optimizer("split", optimizer)
    low, high = ranges.points[i : i + 2]
    if not low < at < high:
        raise ValueError(f"Switch.split: at must be inside range {i}, {ranges.label(i)}, got {at:g}")
    old = switch.branches[i]
    new = clone(old)
    pairs = list(zip(old.parameters(), new.parameters(), strict=True))
    if optimizer is not None:
        _check_trained(optimizer, old, i)
        for before, after in pairs:
            _join_group(optimizer, before, after)
        if ranges.learned_points is not None:
            _change_state(
                optimizer, ranges.learned_points, lambda state: torch.cat([state[:i], state.new_zeros(1), state[i:]])
            )
    switch.branches.insert(i + 1, new)
    visits = ranges.visits
    half = visits[i] // 2
    visits = torch.cat([visits[:i], (visits[i] - half).reshape(1), half.reshape(1), visits[i + 1 :]])
    ranges.replace_points((*ranges.points[: i + 1], float(at), *ranges.points[i + 1 :]), visits)
    if switch.normalize is not None:
        switch.normalize.replace(lambda scale: torch.cat([scale[: i + 1], scale[i:]]))


@torch.inference_mode(False)
def merge(switch: Switch, i: int, j: int, optimizer: Optimizer | None = None, keep: str = "most_visited") -> None:
    """Join two ranges side by side into one.

    Args:
        switch: a switch on ``Ranges`` or ``LearnedRanges``.
        i: a range.
        j: the range before or after it.
        optimizer: that trains the switch: the branch given up leaves it. None: build an optimizer anew.
        keep: whose weights, optimizer state and scale the joined range gets: "i", "j", "most_visited" of the two, or
            "mean", the average of both. An average makes sense of branches that were one not long ago; that of two
            networks trained apart computes neither.

    Raises:
        ValueError: for other routers, ranges that are not side by side, an unknown ``keep``, a mean of branches of
            different architectures, or an optimizer that does not train them. Nothing is changed then.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
        >>> weight = switch.branch(1).weight.item()
        >>> switch.merge(0, 1, keep="j")
        >>> switch.ranges.points, switch.branch(0).weight.item() == weight
        ((0.0, 2.0), True)
    """
    ranges = _ranges(switch, "merge", i=i, j=j)
    _check_optimizer("merge", optimizer)
    one_of("Switch.merge", "keep", keep, ("most_visited", "i", "j", "mean"))
    if abs(i - j) != 1:
        raise ValueError(f"Switch.merge: j must be the range before or after i, got {i} and {j}")
    visits = ranges.visits
    stays, goes = (j, i) if keep == "j" or (keep == "most_visited" and visits[j] > visits[i]) else (i, j)
    kept, gone = switch.branches[stays], switch.branches[goes]
    if keep == "mean":
        _check_alike(switch, stays, goes)
    if optimizer is not None:
        _check_trained(optimizer, kept, stays)
        _check_trained(optimizer, gone, goes)
    if keep == "mean":
        _average(kept, gone, optimizer)
    low = min(i, j)
    if optimizer is not None:
        _leave_groups(optimizer, list(gone.parameters()), set(map(id, kept.parameters())))
        if ranges.learned_points is not None:
            _change_state(optimizer, ranges.learned_points, lambda state: torch.cat([state[:low], state[low + 1 :]]))
    del switch.branches[goes]
    if switch.normalize is not None:
        switch.normalize.replace(lambda scale: torch.cat([scale[:goes], scale[goes + 1 :]]))
    together = torch.cat([visits[:low], visits[low : low + 2].sum().reshape(1), visits[low + 2 :]])
    ranges.replace_points(ranges.points[: low + 1] + ranges.points[low + 2 :], together)


@torch.no_grad()
def warm_start(switch: Switch, model: nn.Module) -> None:
    """Copy a trained model's weights into every branch: train one shared network first, then let each range part.

    Args:
        switch: a switch whose branches have the model's architecture, without ``normalize``, since the model knows
            no other scale than its own.
        model: trained on the same inputs; it is not changed.

    Raises:
        ValueError: for a switch with ``normalize``, or a branch whose weights differ in name or shape; the message has
            the first that does. Nothing is changed then.

    Example:
        >>> import torch, hardgrad as hg
        >>> model = torch.nn.Linear(1, 1)
        >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), torch.nn.Linear(1, 1))
        >>> switch.warm_start(model)
        >>> all(bool(branch.weight == model.weight) for branch in switch.branches)
        True
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"Switch.warm_start: model must be a module, got {type(model).__name__}")
    if switch.normalize is not None:
        raise ValueError(
            "Switch.warm_start: switch must be built without normalize, which maps each range to a scale that model "
            "was not trained on; normalize x once, before both"
        )
    state = model.state_dict()
    for i, branch in enumerate(switch.branches):
        wrong = _first_difference(branch.state_dict(), state)
        if wrong:
            raise ValueError(f"Switch.warm_start: model must have the weights of branch {i}, but {wrong}")
    for branch in switch.branches:
        branch.load_state_dict(state)


def _ranges(switch: Switch, what: str, **which: int) -> PointRouter:
    ranges = switch.ranges
    if not isinstance(ranges, PointRouter) or ranges.along_time:
        raise ValueError(
            f"Switch.{what}: ranges must be Ranges or LearnedRanges, got {type(ranges).__name__}; build a new "
            "switch and load the branches' weights"
        )
    for name, i in which.items():
        if not 0 <= whole(f"Switch.{what}", name, i, "give the number of a range") < len(ranges):
            raise ValueError(f"Switch.{what}: {name} as a range must be 0 to {len(ranges) - 1}, got {i}")
    return ranges


def _check_optimizer(what: str, optimizer: object) -> None:
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"Switch.{what}: optimizer must be a torch.optim.Optimizer or None, got {type(optimizer).__name__}"
        )


def _check_trained(optimizer: Optimizer, branch: nn.Module, i: int) -> None:
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    moving = [parameter for parameter in branch.parameters() if parameter.requires_grad]
    if moving and not any(id(parameter) in known for parameter in moving):
        raise ValueError(f"Switch: optimizer must be the one that trains the switch; it has no weight of branch {i}")


def _check_alike(switch: Switch, one: int, other: int) -> None:
    wrong = _first_difference(switch.branches[one].state_dict(), switch.branches[other].state_dict())
    scales = switch.normalize
    if scales is not None and scales.center[one] != scales.center[other]:
        wrong = "normalize gave them different scales"
    if wrong:
        raise ValueError(f"Switch.merge: branches must be alike to be averaged, but {wrong}; keep one of the two")


def _first_difference(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    for name in [*mine, *theirs]:
        if name not in mine or name not in theirs:
            return f"{name} is in one alone"
        if mine[name].shape != theirs[name].shape:
            return f"{name} has shapes {tuple(mine[name].shape)} and {tuple(theirs[name].shape)}"
    return ""


def _join_group(optimizer: Optimizer, before: Tensor, after: Tensor) -> None:
    for group in optimizer.param_groups:
        if any(parameter is before for parameter in group["params"]):
            group["params"].append(after)
            if before in optimizer.state:
                optimizer.state[after] = copy.deepcopy(optimizer.state[before])


def _leave_groups(optimizer: Optimizer, gone: list[nn.Parameter], stay: set[int]) -> None:
    out = {id(parameter) for parameter in gone} - stay
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in out]
    for parameter in gone:
        if id(parameter) in out:
            optimizer.state.pop(parameter, None)


def _change_state(optimizer: Optimizer, inner: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    state = optimizer.state.get(inner, {})
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == inner.shape:
            state[name] = change(value)


@torch.no_grad()
def _average(kept: nn.Module, gone: nn.Module, optimizer: Optimizer | None) -> None:
    theirs = gone.state_dict()
    for name, value in kept.state_dict().items():
        if value.is_floating_point():
            value.lerp_(theirs[name], 0.5)
    if optimizer is None:
        return
    for mine, other in zip(kept.parameters(), gone.parameters(), strict=True):
        state, their_state = optimizer.state.get(mine, {}), optimizer.state.get(other, {})
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == mine.shape and name in their_state:
                value.lerp_(their_state[name], 0.5)
