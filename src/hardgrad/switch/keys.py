"""Where a layer's key comes from, and what it must not promise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hardgrad.switch.routers.router import Router


def column(key: Callable[[Tensor], Tensor] | int | None, x: Tensor, owner: str) -> Tensor:
    """Return the key that x holds, or raise if nothing says where."""
    if key is None:
        raise ValueError(
            f"{owner}: forward must be given a key, since the layer was built without one; pass it, or build the layer "
            "with key=, a function of x or a column's number"
        )
    return x[..., key] if isinstance(key, int) else key(x)


def refuse_learning(layer: nn.Module, ranges: Router) -> None:
    """Raise where points would be trained that this layer lends no gradient."""
    learns = any(parameter.requires_grad for parameter in ranges.parameters())
    if learns and layer.training and torch.is_grad_enabled():
        raise ValueError(
            f"{type(layer).__name__}: ranges must not learn here, since no gradient reaches their points, got "
            f"{type(ranges).__name__}; learn them in a Switch, then freeze them with ranges.requires_grad_(False)"
        )
