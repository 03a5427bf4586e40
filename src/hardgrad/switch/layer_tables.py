"""Tables with an entry for each range and layer, read and checked: which layers run, and how often one is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Table = Sequence[Sequence[float]] | Tensor


def mask_of(mask: Table | None, shape: tuple[int, int]) -> tuple[tuple[bool, ...], ...]:
    """Return which range runs which layer; None is all of them."""
    if mask is None:
        return ((True,) * shape[1],) * shape[0]
    given = _table("mask", mask, shape)
    if not bool(((given == 0) | (given == 1)).all()):
        raise ValueError(f"LayerMask: mask must hold True and False, got {given.tolist()}")
    return tuple(tuple(row) for row in given.bool().tolist())


def dropout_of(dropout: float | Table, shape: tuple[int, int]) -> tuple[tuple[float, ...], ...]:
    """Return the probability that a row of a range skips a layer which its range runs."""
    if isinstance(dropout, bool):
        raise ValueError(f"LayerMask: dropout must be probabilities, 0 to 1, got {dropout}; 1.0 drops every layer")
    if isinstance(dropout, int | float):
        given = torch.full(shape, float(dropout), dtype=torch.float64, device="cpu")
    else:
        given = _table("dropout", dropout, shape)
    if given.is_complex() or not bool(((given >= 0) & (given <= 1)).all()):
        raise ValueError(f"LayerMask: dropout must be probabilities, 0 to 1, got {given.tolist()}")
    return tuple(tuple(row) for row in given.double().tolist())


def _table(name: str, values: Table, shape: tuple[int, int]) -> Tensor:
    try:
        if isinstance(values, Tensor):
            given = values.detach().cpu()
        else:
            given = torch.tensor(
                [row if isinstance(row, int | float) else list(row) for row in values],
                dtype=torch.float64,
                device="cpu",
            )
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"LayerMask: {name} must be (ranges, layers) = {shape} numbers, got {values!r}; give each range one entry "
            "for each layer"
        ) from None
    if given.shape != shape:
        raise ValueError(
            f"LayerMask: {name} must be (ranges, layers) = {shape}, got {tuple(given.shape)}; give each range one "
            "entry for each layer"
        )
    return given
