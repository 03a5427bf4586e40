"""From tensors to the arrays that a program gets, and from what it returns to a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

Row = tuple[Any, ...]  # one array of each input


def given(x: Tensor) -> Any:
    """Return a tensor's numbers as an array that the program may keep and write into; half precision as float32."""
    wide = torch.float32 if x.is_floating_point() and x.dtype != torch.float64 else x.dtype
    copy = x.detach().to("cpu", wide, copy=True, memory_format=torch.contiguous_format)
    return copy.numpy(force=True)


def rows_of(arrays: Sequence[Any]) -> list[Row]:
    """Return the rows of a batch; that of an input of one dimension is an array without any."""
    return [tuple(array[i, ...] for array in arrays) for i in range(len(arrays[0]))]


def as_array(value: Any) -> Any:
    """Return what a program gave as an array of real numbers, maybe in the program's own memory.

    Raises:
        ValueError: if it is nothing of the kind; the sentence begins with "must".
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().to(torch.promote_types(value.dtype, torch.float32))
    try:
        array = import_module("numpy").asarray(value)
    except ValueError:  # rows of different lengths
        array = None
    if array is None or array.dtype.kind not in "fiub":
        kind = type(value).__name__ if array is None or array.ndim == 0 else f"{type(value).__name__} of {array.dtype}"
        cure = "take .real, or stack both parts" if kind.endswith(("complex64", "complex128")) else _CURE
        raise ValueError(f"must return an array of real numbers or a number, got {kind}; {cure}")
    return array


_CURE = "return one, or give out=, a function that makes one of what the program returns"


def stacked(arrays: Sequence[Any], double: bool) -> Any:
    """Return arrays of one shape as one, in memory of its own and single precision unless ``double``.

    Raises:
        ValueError: if a row has another shape than the first; the sentence begins with the row.
    """
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"row {i} must have the shape of row 0, {arrays[0].shape}, got {array.shape}; pad or cut what the "
                "program returns"
            )
    return import_module("numpy").stack(arrays).astype("f8" if double else "f4", copy=False)
