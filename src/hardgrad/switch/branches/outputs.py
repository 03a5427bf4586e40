"""What a branch may return, in whichever way it runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from hardgrad._torch_state import in_graph, in_transform, tracing


def one_tensor(i: int, output: Any, rows: int) -> Tensor:
    """Return what branch i made of its rows, or raise if that is not one tensor with an entry for each."""
    if not isinstance(output, Tensor):
        kinds = f"a {type(output).__name__}"
        if isinstance(output, tuple | list):
            kinds += f" of {', '.join(type(part).__name__ for part in output)}"
        raise ValueError(
            f"Switch: branches must return one tensor, got {kinds} from branch {i}; wrap the branch in a module that "
            "returns the part you want"
        )
    if output.ndim and tracing():  # where a size is a tensor
        return output
    if output.ndim and in_graph():  # where it may be a symbol, which no `if` can ask for
        torch._check(output.shape[0] == rows, lambda: "Switch: branches must return one output for a row")
    elif not output.ndim or output.shape[0] != rows:
        raise ValueError(
            f"Switch: branches must return one output for each row, got {tuple(output.shape)} for {rows} rows from "
            f"branch {i}; keep the first dimension"
        )
    return output


def one_shape(which: Sequence[int], outputs: Sequence[Tensor]) -> None:
    """Raise if branches made rows of different shapes; ``which`` are their numbers."""
    first = outputs[0].shape[1:]
    for i, output in zip(which, outputs, strict=True):
        if output.shape[1:] != first:
            raise ValueError(
                f"Switch: branches must return one shape for a row, got {tuple(first)} from branch {which[0]} and "
                f"{tuple(output.shape[1:])} from branch {i}; end them in layers of one size"
            )


def one_dtype(outputs: Sequence[Tensor]) -> torch.dtype:
    """Return the dtype that ``torch.cat`` would give them."""
    return reduce(torch.promote_types, [output.dtype for output in outputs])


def of_no_rows(y: Tensor) -> Tensor:
    """Return an output of no rows, marked so that ``backward()`` runs through it, where it can be."""
    learns = may_require_grad() and (y.is_floating_point() or y.is_complex())
    return y.requires_grad_() if learns else y


def may_require_grad() -> bool:
    """Whether an output of no rows can be marked, so that ``backward()`` runs; ``torch.func`` marks its own."""
    return torch.is_grad_enabled() and not in_transform()


def as_column(mine: Tensor, rows: Tensor) -> Tensor:
    """Return one number a row, with dimensions of size 1 behind, to multiply or pick rows with."""
    return mine.reshape(-1, *[1] * (rows.ndim - 1))
