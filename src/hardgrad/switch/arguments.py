"""Checks of arguments: each error names who was called, the argument, the rule and the value got."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import in_graph, in_transform
from hardgrad.switch.conditions.condition import Router


def whole(owner: str, name: str, value: Any, least: int, most: int = 2**62) -> int:
    """Return a whole number that is at least ``least``, or raise; 2.0 is one, True and 1.5 are not."""
    number: int | None = None
    if isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            number = None
    if number is None:
        raise ValueError(f"{owner}: {name} must be a whole number, at least {least}, got {value!r}")
    if number < least:
        raise ValueError(f"{owner}: {name} must be at least {least}, got {value!r}")
    if number > most:
        raise ValueError(f"{owner}: {name} must be at most {most}, got {value!r}")
    return number


def integer(owner: str, name: str, value: Any, cure: str) -> int:
    """Return a position or a count as an int, or raise; 2.0 is none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except (TypeError, RuntimeError):
        raise ValueError(f"{owner}: {name} must be a whole number, got {value!r}; {cure}") from None


def real(owner: str, name: str, value: Any, cure: str = "give a float") -> float:
    """Return a real number, maybe infinite, or raise; True and NaN are none."""
    try:
        if isinstance(value, bool | str | bytes) or (isinstance(value, Tensor) and value.is_complex()):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{owner}: {name} must be a real number, got {value!r}; {cure}") from None
    if math.isnan(number):
        raise ValueError(f"{owner}: {name} must be a real number, got nan; {cure}")
    return number


def router(owner: str, value: Any) -> Router:
    """Return a condition, or raise."""
    if not isinstance(value, Router):
        raise TypeError(
            f"{owner}: ranges must be a condition such as Ranges, Grid or If, got {type(value).__name__}; "
            "build hardgrad.Ranges(points)"
        )
    return value


def modules(owner: str, name: str, value: Any) -> None:
    """Raise if the value is neither a module nor a sequence of modules."""
    if isinstance(value, nn.Module) and not isinstance(value, nn.ModuleDict | nn.ParameterList | nn.ParameterDict):
        return
    try:
        given = list(value)
    except TypeError:
        given = [value]
    for position, part in enumerate(given):
        if not isinstance(part, nn.Module):
            raise TypeError(
                f"{owner}: {name} must be modules, got {type(part).__name__} at position {position}; wrap a function "
                "in a torch.nn.Module"
            )


def branch_number(owner: str, i: Any, branches: int) -> int:
    """Return the number of a branch, which may count from the end as in a list, or raise."""
    try:
        if isinstance(i, bool):
            raise TypeError
        return range(branches)[operator.index(i)]
    except (TypeError, IndexError):
        raise ValueError(f"{owner}: i must be a range, 0 .. {branches - 1}, got {i!r}") from None


def index_of(owner: str, index: Tensor, branches: int | None) -> Tensor:
    """Return branch numbers as given, or raise where they are none; on the CPU their size is looked at too."""
    index = _check.tensor(owner, "index", index)
    if index.dtype is torch.bool or index.is_floating_point() or index.is_complex():
        raise ValueError(
            f"{owner}: index must be branch numbers, int64, got {index.dtype}; take switch.ranges.index(key)"
        )
    index = index.long()
    if index.device.type != "cpu" or not index.numel() or in_graph() or in_transform():
        return index  # reading back would make the host wait, or cannot be done
    low, high = (int(end) for end in torch.aminmax(index))
    if low < 0 or (branches is not None and high >= branches):
        rule = "at least 0" if branches is None else f"0 .. {branches - 1}"
        raise ValueError(f"{owner}: index must be branch numbers {rule}, got {low} .. {high}")
    return index


def one_loss_a_row(owner: str, name: str, losses: Tensor, index: Tensor) -> Tensor:
    """Return losses that begin with the index's shape, or raise."""
    losses = _check.tensor(owner, name, losses)
    if losses.is_complex() or losses.dtype is torch.bool:
        raise ValueError(f"{owner}: {name} must be real numbers, got {losses.dtype}; cast it first")
    if losses.shape[: index.ndim] != index.shape or not index.ndim:
        raise ValueError(
            f"{owner}: {name} must begin with index's shape {tuple(index.shape)}, got {tuple(losses.shape)}; give "
            'one loss a row, with reduction="none"'
        )
    return losses


def row_targets(owner: str, target: Tensor, shape: torch.Size) -> Tensor:
    """Return the targets as rows (M, ...), or raise if they do not begin with the keys' shape."""
    if not isinstance(target, Tensor) or target.shape[: len(shape)] != shape:
        got = str(tuple(target.shape)) if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{owner}: target must be a tensor that begins with x's rows, {tuple(shape)}, got {got}")
    return target.flatten(0, len(shape) - 1)


def some_rows(owner: str, rows: Tensor) -> None:
    """Raise where there is nothing to measure."""
    if not len(rows):
        raise ValueError(f"{owner}: x must have rows, got none")
