"""Which parameters a value of the knob takes: one set for each value that was recorded, its range ending midway."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Take(Protocol):
    """What devices read of a recording: sounds (T,), where the knob stood, and how long only the state is brought."""

    @property
    def dry(self) -> Tensor: ...
    @property
    def wet(self) -> Tensor: ...
    @property
    def knob(self) -> float | None: ...
    @property
    def lead(self) -> int: ...


def sets(knob: Sequence[float] | None) -> int:
    """Return how many sets of parameters there are."""
    return 1 if knob is None else len(knob)


def place(owner: str, knob: Sequence[float] | None, value: Tensor | None, x: Tensor) -> Tensor:
    """Return the set of parameters that each row of x (B, T) takes, int64 (B,).

    Raises:
        ValueError: for a value where there is no knob, or none where there is one, or not one a row.
    """
    if knob is None:
        if value is not None:
            raise ValueError(f"{owner}: knob must be None for a device without one, got a tensor; leave it out")
        return torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    if value is None or value.shape != x.shape[:1]:
        got = "None" if value is None else f"shape {tuple(value.shape)}"
        raise ValueError(
            f"{owner}: knob must be a tensor of one value a row, ({len(x)},), got {got}; the device has one"
        )
    between = [(low + high) / 2 for low, high in pairwise(knob)]
    edges = torch.tensor(between, dtype=torch.float64, device=x.device)
    return torch.bucketize(value.to(x.device, torch.float64), edges, right=True)


def told(kind: str, knob: Sequence[float] | None, sets: Sequence[str]) -> str:
    """Return what a device is, from what each of its sets of parameters is."""
    rows = sets if knob is None else [f"knob {value:g}: {row}" for value, row in zip(knob, sets, strict=True)]
    return f"{kind}: {'; '.join(rows)}"


def rates(layer: nn.Module, step_db: float = 0.02) -> list[dict[str, Any]]:
    """Return groups of parameters with their rates of learning: decibels go further in a step than logarithms."""
    named = list(layer.named_parameters())
    groups = (("raw_", step_db), ("log_", step_db / 10))
    return [{"params": [value for name, value in named if name.startswith(part)], "lr": lr} for part, lr in groups]


def apart(owner: str, knob: Sequence[float] | None, takes: Sequence[Take]) -> list[list[Take]]:
    """Return the recordings of each set of parameters.

    Raises:
        ValueError: for a recording without a value of the knob, or a set without a recording.
    """
    if knob is None:
        return [list(takes)]
    values = [float("nan") if take.knob is None else take.knob for take in takes]
    if any(value != value for value in values):
        raise ValueError(f"{owner}: recordings must have a value of the knob each, got one without; give it in .knob")
    chosen = place(owner, knob, torch.tensor(values, dtype=torch.float64), torch.empty(len(takes), 0)).tolist()
    found = [[take for take, own in zip(takes, chosen, strict=True) if own == number] for number in range(len(knob))]
    for value, own in zip(knob, found, strict=True):
        if not own:
            raise ValueError(f"{owner}: recordings must have every value of the knob, got none of {value:g}; add one")
    return found
