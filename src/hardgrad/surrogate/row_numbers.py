"""Arguments that hold a number for each number of a row, maybe of several inputs: a number, a tensor, a tuple."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from hardgrad import _check

Numbers = float | Tensor | None
PerInput = Numbers | tuple[Numbers, ...]
Each = TypeVar("Each")

_CURE = "give a number, or a tensor that broadcasts to one row of the input"


def checked(owner: str, name: str, value: Any, step: bool = False) -> Any:
    """Return numbers that are none of them NaN, or raise; those of a ``step`` are above 0 and finite, too."""
    if isinstance(value, tuple):
        return tuple(checked(owner, f"{name}[{i}]", each, step) for i, each in enumerate(value))
    if value is None:
        return None
    if not isinstance(value, Tensor):
        value = _check.real(owner, name, value, _CURE)
        found = [value]
    elif value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{owner}: {name} must hold real numbers, got {value.dtype}; {_CURE}")
    elif value.requires_grad:
        raise ValueError(f"{owner}: {name} must need no gradient, since it gets none here; give its .detach()")
    else:
        value = value.detach().clone()
        found = [] if value.is_meta else value.flatten().tolist()
    for number in found:
        if math.isnan(number) or (step and not 0 < number < math.inf):
            rule = "above 0 and finite, it is how far each number is moved" if step else "a number"
            raise ValueError(f"{owner}: {name} must be {rule}, got {number}")
    return value


def for_each(owner: str, name: str, value: tuple[Each, ...] | Each, inputs: int) -> list[Each]:
    """Return what an argument says of each of several inputs, or raise; what is no tuple is for all."""
    given = list(value) if isinstance(value, tuple) else [value] * inputs
    if len(given) != inputs or (name == "scale" and inputs > 1 and not isinstance(value, tuple)):
        got = f"{len(given)} entries" if isinstance(value, tuple) else "one for all"
        raise ValueError(
            f"{owner}: {name} must be a tuple with an entry for each of the {inputs} inputs, got {got}; None is an "
            "entry, for an input that is left alone"
        )
    return given


def side_by_side(
    owner: str, name: str, numbers: Sequence[Numbers], rows: Sequence[torch.Size], like: Tensor, missing: float
) -> Tensor | None:
    """Return numbers of inputs whose rows have these shapes as one row, or None if there are none.

    ``missing`` stands for None beside others.
    """
    if all(each is None for each in numbers):
        return None
    parts = []
    for each, row in zip(numbers, rows, strict=True):
        given = missing if each is None else each
        part = given.to(like) if isinstance(given, Tensor) else like.new_full((), _held(given, like))
        try:
            parts.append(part.expand(row).reshape(-1))
        except RuntimeError:
            raise ValueError(
                f"{owner}: {name} must broadcast to one row of its input, {tuple(row)}, got {tuple(part.shape)}; a row "
                "is one sample, without the batch"
            ) from None
    return torch.cat(parts)


def _held(number: float, like: Tensor) -> float:
    """What a dtype makes of a number that is too large for it."""
    return number if abs(number) <= torch.finfo(like.dtype).max else math.copysign(math.inf, number)
