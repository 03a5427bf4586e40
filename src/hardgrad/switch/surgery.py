"""Ranges split, joined and warm-started in the middle of training, with their weights and their optimizer's state.

Each function checks everything before it changes anything, so that a mistake leaves the layer as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad.switch.arguments import integer, real
from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.branches.build import clone
from hardgrad.switch.branches.normalize import Normalize
from hardgrad.switch.conditions.condition import Router
from hardgrad.switch.conditions.on_points import PointRouter

Optimizer = torch.optim.Optimizer


@torch.inference_mode(False)  # what is made here is trained later
def split(branches: Branches, condition: Router, i: int, at: float, optimizer: Optimizer | None = None) -> None:
    """Split range i in two at a point; both halves go on from its weights, its optimizer state and its scale.

    Visits are halved, since how they fell is not known.
    """
    ranges = _ranges("split", condition, i=i)
    at = real("Switch.split", "at", at, "give a point inside the range")
    _check_optimizer("split", optimizer)
    low, high = ranges.points[i : i + 2]
    if not low < at < high:
        raise ValueError(f"Switch.split: at must be inside range {i}, {ranges.label(i)}, got {at:g}")
    old = branches.modules[i]
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
    branches.modules.insert(i + 1, new)
    visits = ranges.visits
    half = visits[i] // 2
    visits = torch.cat([visits[:i], (visits[i] - half).reshape(1), half.reshape(1), visits[i + 1 :]])
    ranges.replace_points((*ranges.points[: i + 1], float(at), *ranges.points[i + 1 :]), visits)
    branches.scales.split(i)


@torch.inference_mode(False)
def merge(
    branches: Branches,
    condition: Router,
    i: int,
    j: int,
    optimizer: Optimizer | None = None,
    keep: str = "most_visited",
) -> None:
    """Join two ranges side by side into one, with the weights, optimizer state and scale that ``keep`` says."""
    ranges = _ranges("merge", condition, i=i, j=j)
    _check_optimizer("merge", optimizer)
    _check.one_of("Switch.merge", "keep", keep, ("most_visited", "i", "j", "mean"))
    if abs(i - j) != 1:
        raise ValueError(f"Switch.merge: j must be the range before or after i, got {i} and {j}")
    visits = ranges.visits
    stays, goes = (j, i) if keep == "j" or (keep == "most_visited" and visits[j] > visits[i]) else (i, j)
    kept, gone = branches.modules[stays], branches.modules[goes]
    if keep == "mean":
        _check_alike(branches, stays, goes)
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
    del branches.modules[goes]
    branches.scales.drop(goes)
    together = torch.cat([visits[:low], visits[low : low + 2].sum().reshape(1), visits[low + 2 :]])
    ranges.replace_points(ranges.points[: low + 1] + ranges.points[low + 2 :], together)


@torch.no_grad()
def warm_start(branches: Branches, model: nn.Module) -> None:
    """Copy a trained model's weights into every branch."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"Switch.warm_start: model must be a module, got {type(model).__name__}")
    if isinstance(branches.scales, Normalize):
        raise ValueError(
            "Switch.warm_start: switch must be built without normalize, which maps each range to a scale that model "
            "was not trained on; normalize x once, before both"
        )
    state = model.state_dict()
    for i, branch in enumerate(branches.modules):
        wrong = _first_difference(branch.state_dict(), state)
        if wrong:
            raise ValueError(f"Switch.warm_start: model must have the weights of branch {i}, but {wrong}")
    for branch in branches.modules:
        branch.load_state_dict(state)


def _ranges(what: str, ranges: Router, **which: int) -> PointRouter:
    if not isinstance(ranges, PointRouter) or ranges.along_time:
        raise ValueError(
            f"Switch.{what}: ranges must be Ranges or LearnedRanges, got {type(ranges).__name__}; build a new "
            "switch and load the branches' weights"
        )
    for name, i in which.items():
        if not 0 <= integer(f"Switch.{what}", name, i, "give the number of a range") < len(ranges):
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


def _check_alike(branches: Branches, one: int, other: int) -> None:
    wrong = _first_difference(branches.modules[one].state_dict(), branches.modules[other].state_dict())
    if branches.scales.differ(one, other):
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
