"""Which parameters a knob chooses: each value that there are recordings of has a range, up to midway to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

import hardgrad as hg


def range_of(values: Sequence[float] | None, knob: Tensor | None, batch: int) -> Tensor:
    """Return the range of each sound, int64 (batch,); 0 for a device without a knob.

    Args:
        values: of the knob, that a device has parameters for, ascending.
        knob: (batch,) where the knob stands.
        batch: how many sounds there are.

    Raises:
        ValueError: if the device has a knob and nobody says where it stands.
    """
    if values is None:
        return torch.zeros(batch, dtype=torch.int64)
    if knob is None:
        known = ", ".join(f"{value:g}" for value in values)
        raise ValueError(f"knob must say where the knob stands, since the device was made for {known}, got None")
    middle = [(a + b) / 2 for a, b in pairwise(values)]
    return hg.Ranges([-math.inf, *middle, math.inf]).index(knob)
