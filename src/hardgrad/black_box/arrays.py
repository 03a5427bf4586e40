"""From tensors to the arrays that a program gets, and from what it returns to one array of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

Row = tuple[Any, ...]  # one array of each input


@cache
def numpy() -> Any:
    """Return the module NumPy: torch runs without it, a box does not.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        return import_module("numpy")
    except ImportError as error:
        raise ImportError(
            "hardgrad: a program of its own is handed NumPy arrays, and NumPy is not installed here; pip install numpy"
        ) from error


def given(x: Tensor) -> Any:
    """Return a tensor's numbers as an array that the program may keep and write into; half precision as float32."""
    numpy()
    wide = torch.float32 if x.is_floating_point() and x.dtype != torch.float64 else x.dtype
    return x.detach().to("cpu", wide, copy=True, memory_format=torch.contiguous_format).numpy(force=True)


def rows_of(arrays: Sequence[Any]) -> list[Row]:
    """Return the rows of a batch; that of an input of one dimension is an array without any."""
    return [tuple(array[i, ...] for array in arrays) for i in range(len(arrays[0]))]


def numbers(value: Any, double: bool) -> Any:
    """Return what a program gave as floats in memory of their own; the program may use its buffer again.

    Raises:
        ValueError: if it is nothing of the kind; the sentence begins with "must return".
    """
    numpy()
    if isinstance(value, Tensor):
        value = value.detach().to("cpu", torch.promote_types(value.dtype, torch.float32)).numpy(force=True)
    try:
        array = numpy().asarray(value)
    except (ValueError, TypeError) as error:  # rows of different lengths
        raise ValueError(f"must return an array or a number, got {type(value).__name__} ({error}); {_CURE}") from None
    if array.dtype.kind not in "fiub":
        got = type(value).__name__ + (f" of {array.dtype}" if array.ndim else "")
        cure = "return .real, or both parts side by side" if array.dtype.kind == "c" else _CURE
        raise ValueError(f"must return an array of real numbers or a number, got {got}; {cure}")
    return array.astype("f8" if double else "f4", order="C")


_CURE = "give out=, a function that makes one of what the program returns"


def stacked(arrays: Sequence[Any]) -> Any:
    """Return arrays of one shape as one."""
    return numpy().stack(arrays)
