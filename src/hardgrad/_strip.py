"""Models without what only training needs."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

_MARK = object()  # in the memo of a deepcopy: bridges leave their approximators behind

# What cannot be copied, and the cure.
_WRAPPERS = {
    "DistributedDataParallel": "strip what it wraps, its .module",
    "FullyShardedDataParallel": "strip what it wraps, its .module",
    "FSDPModule": "load its full state dict into a plain model and strip that",  # of fully_shard
}


def strip(model: nn.Module) -> nn.Module:
    """Return a copy of a model without any approximator, for inference and export.

    Every bridge that ``copy.deepcopy`` reaches is stripped: in containers, inside another's hard module, in a
    ``functools.partial`` or a bound method. A plain bridge becomes a ``HardLayer`` with the same hooks and attributes;
    one of a class of your own stays of that class and loses its approximator, so its ``forward`` may not call it. A
    bridge that only the variables of a Python function hold (its closure, its globals) is not copied, nor stripped: it
    is the original, run for its hard function alone. An approximator that something else holds too stays there.

    Args:
        model: any module, a bridge itself included, compiled or not; it is not changed. Unwrap DistributedDataParallel
            first; a model under ``fully_shard`` cannot be copied, so load its full state dict into a plain one.

    Returns:
        A copy: same outputs in ``eval()`` bit for bit, fewer keys in its ``state_dict``. No gradient passes its hard
        functions, and a backward that needs one warns; in an exported program nothing is said.

    Raises:
        ValueError: if ``model`` is no module, or holds a wrapper that spreads it over processes.

    Example:
        >>> import torch, hardgrad as hg
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 4), hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4)))
        >>> list(hg.strip(model).state_dict())
        ['0.weight', '0.bias']
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"strip: model must be an nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        kinds = [kind.__name__ for kind in type(module).__mro__ if kind.__name__ in _WRAPPERS]
        if kinds:
            raise ValueError(f"strip: {kinds[0]} at {name or 'the top'!r} cannot be copied; {_WRAPPERS[kinds[0]]}")
    return copy.deepcopy(model, {id(_MARK): _MARK})


def strips(memo: dict[int, Any]) -> bool:
    """Whether the ``deepcopy`` that has this memo is one of ``strip``."""
    return id(_MARK) in memo


class RemovedApproximator:
    """What stands where ``strip`` took an approximator from a bridge of the user's own class."""

    def __call__(self, *_: object) -> Any:
        raise RuntimeError(_REMOVED)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_REMOVED)


_REMOVED = (
    "strip removed this bridge's approximator, but a forward of the bridge's own class asks for it; "
    "use it in train() alone, or keep the model unstripped"
)
