"""The one way in which a layer's own loss gets to the user's: it is added to it."""

from __future__ import annotations

from torch import Tensor, nn

from hardgrad._torch_state import in_backward
from hardgrad.penalty.carrier import carry
from hardgrad.penalty.scopes import bag_for, penalties_enabled


def add_penalty(module: nn.Module, path: Tensor, penalty: Tensor) -> Tensor:
    """Add a penalty to the open scope, or let the layer's own path carry it to the user's ``loss.backward()``.

    Args:
        module: the layer that the penalty belongs to.
        path: what the layer's gradient flows through, any shape.
        penalty: shape ().

    Returns:
        ``path``, or a view of it that also carries the penalty where no scope is open. Where penalties are disabled it
        is dropped.
    """
    if not penalties_enabled():
        return path
    bag = bag_for(module)
    if bag is not None and not in_backward():
        bag.add(module, penalty)
        return path
    return carry(module, path, penalty)
