"""Whether a state that was read from a file is built as one of this run is."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

DEEP = 12  # levels of a state; what is deeper was not written here


def difference(fresh: Any, read: Any, place: str = "", depth: int = 0) -> str:
    """Return what sets a state that was read apart from a fresh one, in words; nothing if it is built alike.

    Tensors must have the same shape and dtype, numbers must be numbers. What is empty or None at the start, as an
    optimiser's averages and a curve are, may hold anything plain.

    Args:
        fresh: the state at step 0: tensors, numbers, words, lists and dicts of such.
        read: the state from a file.
        place: where they stand, for the words.
        depth: how deep that is.
    """
    if depth > DEEP:
        return f"{place or 'it'} goes deeper than {DEEP} levels"
    if isinstance(fresh, Tensor):
        return _of_tensor(fresh, read, place)
    if isinstance(fresh, dict) and fresh:
        return _of_dict(fresh, read, place, depth)
    if isinstance(fresh, list | tuple) and fresh and isinstance(read, list | tuple) and len(fresh) == len(read):
        parts = (difference(a, b, f"{place}[{i}]", depth + 1) for i, (a, b) in enumerate(zip(fresh, read, strict=True)))
        return next(filter(None, parts), "")
    if fresh is None or _is_kind(fresh, read):
        return ""
    return f"{place or 'it'} is of type {type(read).__name__}, not {type(fresh).__name__}"


def _of_tensor(fresh: Tensor, read: Any, place: str) -> str:
    if not isinstance(read, Tensor):
        return f"{place} is of type {type(read).__name__}, not a tensor"
    if read.shape != fresh.shape or read.dtype != fresh.dtype or read.layout != fresh.layout:
        return f"{place} is {tuple(read.shape)} of {read.dtype}, not {tuple(fresh.shape)} of {fresh.dtype}"
    return ""


def _of_dict(fresh: dict[Any, Any], read: Any, place: str, depth: int) -> str:
    if not isinstance(read, dict):
        return f"{place or 'it'} is of type {type(read).__name__}, not dict"
    if lacking := [name for name in fresh if name not in read]:
        return f"{place}{'.' if place else ''}{lacking[0]} is missing"
    dot = f"{place}." if place else ""
    parts = (difference(value, read[name], f"{dot}{name}", depth + 1) for name, value in fresh.items())
    return next(filter(None, parts), "")


def _is_kind(fresh: Any, read: Any) -> bool:
    if isinstance(fresh, bool | str | dict):
        return type(read) is type(fresh)
    if isinstance(fresh, int | float):
        return isinstance(read, int | float) and not isinstance(read, bool) and math.isfinite(read)
    if isinstance(fresh, list | tuple):
        return isinstance(read, list | tuple)
    return True
