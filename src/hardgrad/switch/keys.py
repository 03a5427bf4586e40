"""Where a layer's key comes from, and what it must not promise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import hides_values, in_graph, in_transform
from hardgrad.switch.arguments import integer
from hardgrad.switch.conditions.condition import Router, without_values


def column(key: Callable[[Tensor], Tensor] | int | None, x: Tensor, owner: str) -> Tensor:
    """Return the key that x holds, or raise if nothing says where."""
    if key is None:
        raise ValueError(
            f"{owner}: forward must be given a key, since the layer was built without one; pass it, or build the layer "
            "with key=, a function of x or a column's number"
        )
    _check.tensor(owner, "x", x)
    if not isinstance(key, int):
        return unwritten(key, x, f"{owner}: key")
    columns = x.shape[-1] if x.ndim else 0
    if not -columns <= key < columns:
        raise ValueError(
            f"{owner}: key must be a column of x's last dimension, 0 to {columns - 1}, got {key} for x {tuple(x.shape)}"
        )
    return x[..., key]


def key_of(owner: str, source: Callable[[Tensor], Tensor] | int | None, x: Tensor, key: Tensor | None) -> Tensor:
    """Return the key that ``forward`` was given, or the one that x holds, or raise if it is no tensor."""
    for name, value in (("x", x), ("key", key := column(source, x, owner) if key is None else key)):
        _check.tensor(owner, name, value)
    return key


def check_source(owner: str, key: object) -> None:
    """Raise if nothing can be made of ``key``, where a layer's key is to come from."""
    if key is not None and not callable(key):
        integer(owner, "key", key, "give a function of x, the number of a column of x, or None")


def unwritten(function: Callable[[Tensor], Tensor], x: Tensor, what: str) -> Tensor:
    """Return a user's function of x, and raise if it wrote into x instead of making something of its own."""
    if in_graph() or in_transform() or x.is_inference():  # where no tensor tells how often it was written to
        return function(x.clone())
    before = x._version
    made = function(x)
    if x._version != before:
        raise ValueError(
            f"{what} must not write into the tensor that it gets, which the branches get, too; write x.clamp() for "
            "x.clamp_(), or begin with x = x.clone()"
        )
    return made


def branch_of(router: Router, key: Tensor, owner: str, last: Tensor | None = None) -> Tensor:
    """Return the branch of each key, int64, and raise if a router of the user's own broke the rules for it.

    Args:
        router: the condition.
        key: as for the condition.
        owner: the layer, for messages.
        last: int64 (B,), the branches that sequences were in before their first key, if they go on from a chunk before.
    """
    if (type(router).index.__module__ or "").startswith("hardgrad."):  # None where code was run from a string
        return router.index_after(key, last)
    index = unwritten(lambda own: router.index_after(own, last), key, f"{owner}: {type(router).__name__}.index")
    shape = router.leading(key)
    if not isinstance(index, Tensor) or index.dtype is not torch.int64 or index.shape != shape:
        got = f"{index.dtype} {tuple(index.shape)}" if isinstance(index, Tensor) else type(index).__name__
        raise ValueError(f"{owner}: {type(router).__name__}.index must return int64 {tuple(shape)}, got {got}")
    if not without_values(index) and index.numel():
        low, high = (int(end) for end in torch.aminmax(index))
        if low < 0 or high >= router.branches:
            raise ValueError(
                f"{owner}: {type(router).__name__}.index must return branches 0 to {router.branches - 1}, got {low} to "
                f"{high}"
            )
    return index


def check_sequences(owner: str, ranges: Router, x: Tensor, key: Tensor, features: str = "...") -> None:
    """Raise where x (B, T, features) and the keys are not sequences of one shape, or no value of a key can be read."""
    if hides_values(_check.tensor(owner, "key", key)):
        raise RuntimeError(
            f"{owner}: which branch runs depends on the keys, whose values torch.func.vmap and the meta device hide; "
            "give vmap the key with in_dims=None, the same for all, or loop over the samples"
        )
    shape = ranges.leading(key)
    if len(shape) != 2 or shape != x.shape[:2] or (features == "F" and x.ndim != 3):
        raise ValueError(
            f"{owner}: x must be (B, T, {features}) and key (B, T{', K' * bool(ranges.keys)}), one a step, got x "
            f"{tuple(x.shape)} and key {tuple(key.shape)}; unsqueeze a single sequence"
        )


def refuse_learning(layer: nn.Module, ranges: Router) -> None:
    """Raise where points would be trained that get no gradient in this layer."""
    learns = any(parameter.requires_grad for parameter in ranges.parameters())
    if learns and layer.training and torch.is_grad_enabled():
        raise ValueError(
            f"{type(layer).__name__}: ranges must not learn here, since no gradient reaches their points, got "
            f"{type(ranges).__name__}; learn them in a Switch, then freeze them with ranges.requires_grad_(False)"
        )
