"""Arguments that are not what they should be, named before they get anywhere."""

from __future__ import annotations

import operator
from typing import Any

from torch import Size, Tensor


def number(owner: str, name: str, value: Any, cure: str) -> float:
    """Return a number as a float, or raise a ValueError that names the argument."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{owner}: {name} must be a number, got {value!r}; {cure}") from None


def whole(owner: str, name: str, value: Any, cure: str) -> int:
    """Return a whole number as an int, or raise a ValueError that names the argument."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except (TypeError, RuntimeError):
        raise ValueError(f"{owner}: {name} must be a whole number, got {value!r}; {cure}") from None


def row_targets(owner: str, target: Tensor, shape: Size) -> Tensor:
    """Return the targets as rows (M, ...), or raise if they do not begin with the keys' shape."""
    if not isinstance(target, Tensor) or target.shape[: len(shape)] != shape:
        got = str(tuple(target.shape)) if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{owner}: target must be a tensor that begins with x's rows, {tuple(shape)}, got {got}")
    return target.flatten(0, len(shape) - 1)


def some_rows(owner: str, rows: Tensor) -> None:
    """Raise where there is nothing to measure."""
    if not len(rows):
        raise ValueError(f"{owner}: x must have rows, got none")
