"""A word to whoever lets weight decay pull learned points to zero."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hardgrad._torch_state import compiling

Optimizer = torch.optim.Optimizer
Groups = list[tuple[int, bool]]  # of each group how many parameters it has, and whether they decay

# Weak references alone: nothing is kept alive by being looked at. Of each optimizer: its groups when it was last looked
# through, and where it decays points, as (group, position); None once it was warned of.
_watched: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_seen: weakref.WeakKeyDictionary[Optimizer, tuple[Groups, list[tuple[int, int]]] | None] = weakref.WeakKeyDictionary()
_hooks: list[Any] = []


def watch(ranges: nn.Module) -> None:
    """Warn, once an optimizer, where one decays the parameter ``inner`` of these ranges."""
    if not _hooks:
        _hooks.append(register_optimizer_step_pre_hook(_look))
    _watched.add(ranges)
    for optimizer in [optimizer for optimizer, seen in _seen.items() if seen]:
        del _seen[optimizer]


def _look(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    if compiling():
        return
    groups = [(len(group["params"]), bool(group.get("weight_decay", 0))) for group in optimizer.param_groups]
    seen = _seen.get(optimizer, ([], []))
    if seen is None:
        return
    if seen[0] != groups:
        seen = _seen[optimizer] = (groups, _decaying_points(optimizer))
    if not any(optimizer.param_groups[group]["params"][place].grad is not None for group, place in seen[1]):
        return  # without a gradient a parameter is left out, decay and all
    _seen[optimizer] = None
    warnings.warn(
        f"LearnedRanges: weight decay pulls learned points to zero, and {type(optimizer).__name__} holds points in a "
        'group with weight_decay above 0; give them a group of their own, {"params": ranges.parameters(), '
        '"weight_decay": 0}',
        UserWarning,
        stacklevel=4,
    )


def _decaying_points(optimizer: Optimizer) -> list[tuple[int, int]]:
    points = {id(ranges.inner) for ranges in list(_watched)}
    return [
        (i, place)
        for i, group in enumerate(optimizer.param_groups)
        for place, parameter in enumerate(group["params"])
        if group.get("weight_decay", 0) and id(parameter) in points
    ]
