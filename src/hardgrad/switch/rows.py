"""Rows, keys and branch numbers of a batch, whatever leading dimensions it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.switch.conditions.condition import Router
from hardgrad.switch.keys import branch_of, key_of


class Routed(NamedTuple):
    """The M rows of a batch, in order.

    Attributes:
        rows: (M, ...).
        key: (M,), with a condition on several keys (M, K).
        branch: int64 (M,), the branch of each row.
        shape: the leading shape that they came in.
    """

    rows: Tensor
    key: Tensor
    branch: Tensor
    shape: torch.Size


def routed(
    owner: str, ranges: Router, source: Callable[[Tensor], Tensor] | int | None, x: Tensor, key: Tensor | None
) -> Routed:
    """Return the rows of x with their keys and branches; counts no visit.

    Args:
        owner: the layer, for messages.
        ranges: the condition.
        source: where the key comes from if it is not given.
        x: (B, ...), or (B, T, ...) for a key per time step.
        key: x's leading dimensions, for a condition on several keys one more.

    Raises:
        ValueError: for a key that is missing or does not match x.
    """
    key = key_of(owner, source, x, key)
    shape = ranges.leading(key)
    if not shape or x.shape[: len(shape)] != shape:
        what = "x's leading dimensions" + (" and a last one of the keys" if ranges.keys else "")
        raise ValueError(
            f"{owner}: key must have {what}, got key {tuple(key.shape)} and x {tuple(x.shape)}; give one key a row, "
            "shape (B,), or one a time step, shape (B, T)"
        )
    index = branch_of(ranges, key, owner).reshape(-1)
    return Routed(x.flatten(0, len(shape) - 1), key.flatten(0, len(shape) - 1), index, shape)
