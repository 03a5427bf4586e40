"""Arguments that hold a number for every number of a row, or of a row of each input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad import _check

Numbers = float | Tensor | None
PerInput = Numbers | tuple[Numbers, ...]

_CURE = "give a number, or a tensor that broadcasts to one row of the input"


def checked(owner: str, name: str, value: Any) -> PerInput:
    """Return numbers for each input that an argument was given for, or raise."""
    if isinstance(value, tuple | list):
        return tuple(_checked(owner, f"{name}[{i}]", each) for i, each in enumerate(value))
    return _checked(owner, name, value)


def _checked(owner: str, name: str, value: Any) -> Numbers:
    if value is None:
        return None
    step = name.startswith("scale")
    if not isinstance(value, Tensor):
        if step:
            return float(_check.number(owner, name, value, above=0, cure="it is how far each number is moved"))
        return _check.real(owner, name, value, cure=_CURE)
    if value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{owner}: {name} must hold real numbers, got {value.dtype}; {_CURE}")
    held = value.detach().clone()
    if not held.is_meta:
        wrong = ~((held > 0) & held.isfinite()) if step else held.isnan()
        if wrong.any():
            rule = "above 0 and finite, it is how far each number is moved" if step else "no NaN"
            raise ValueError(f"{owner}: {name} must be {rule}, got {held[wrong][0].item()} among its numbers")
    return held


def of_input(owner: str, name: str, value: PerInput, inputs: int) -> list[Numbers]:
    """Return what an argument says of each of several inputs, or raise."""
    if not isinstance(value, tuple):
        if name == "scale" and inputs > 1:
            raise ValueError(
                f"{owner}: scale must be a tuple with one entry for each of the {inputs} inputs, got one for all; None "
                "leaves an input as it is"
            )
        return [value] * inputs
    if len(value) != inputs:
        raise ValueError(
            f"{owner}: {name} must have one entry for each input, got {len(value)} and {inputs} inputs; None is an "
            "entry too"
        )
    return list(value)


def side_by_side(
    owner: str, name: str, numbers: list[Numbers], rows: list[torch.Size], like: Tensor, missing: float
) -> Tensor | None:
    """Return numbers of the perturbed inputs as one row, shape ``(1, n)``, or None if there are none.

    Args:
        numbers: of each input.
        rows: the shape of a row of each.
        like: whose dtype and device it gets.
        missing: what stands for None beside others.
    """
    if all(each is None for each in numbers):
        return None
    parts = []
    for each, row in zip(numbers, rows, strict=True):
        given = missing if each is None else each
        part = given.to(like) if isinstance(given, Tensor) else torch.full((), given, dtype=like.dtype, device=like.device)
        try:
            parts.append(part.expand(row).reshape(1, -1))
        except RuntimeError:
            raise ValueError(
                f"{owner}: {name} must broadcast to one row of its input, {tuple(row)}, got {tuple(part.shape)}; its "
                "numbers are those of a row, without the batch"
            ) from None
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
