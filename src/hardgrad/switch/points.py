"""Points on the number line: a value, with the range that each number falls into."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Closed = Literal["left", "right"]
Outside = Literal["nearest", "error"]

# Up to so many keys, looking each up among Python floats beats the tensor kernels that would do it (measured: 64 keys
# take 20 us this way, and the kernels 25 us at any number).
FEW = 64


@dataclass(frozen=True)
class Points:
    """N + 1 numbers in float64, in order, which make N ranges.

    A key is compared in its own dtype with the points cast to it; an integer key as float64, which holds it exactly up
    to 2 ** 53. There are three ways to one meaning: Python floats for few keys, kernels for many, and
    ``range_without_values`` where nothing can be read back.

    Args:
        values: the points; see ``checked``.
        closed: the end that belongs to a range: "left" for [a, b), "right" for (a, b]; the outer points always belong.
    """

    values: tuple[float, ...]
    closed: Closed = "left"
    _rounded: dict[torch.dtype, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.values) - 1

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Both ends of each range."""
        return list(pairwise(self.values))

    def label(self, i: int) -> str:
        """Return range i in the mathematician's words."""
        low, high = self.values[i], self.values[i + 1]
        left = "[" if self.closed == "left" or i == 0 else "("
        right = "]" if self.closed == "right" or i == len(self) - 1 else ")"
        return f"{left}{low:g}, {high:g}{right}"

    def index(self, key: Tensor, outside: Outside = "nearest") -> Tensor:
        """Return the range of each key, int64 of its shape, or raise for one that may not be taken for the nearest."""
        return self._index_of_few(key, outside) if key.numel() <= FEW else self._index_of_many(key, outside)

    def count_outside(self, key: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return how many keys are below the first point and above the last, or None where no key is."""
        floats = self.rounded(key.dtype)
        first, last = floats[0], floats[-1]
        flat = key if key.ndim == 1 else key.reshape(-1)
        ends = flat.tolist() if len(flat) <= FEW else [float(end) for end in torch.aminmax(flat.detach())]
        if ends and (min(ends) < first or max(ends) > last):
            return (key < first).sum(), (key > last).sum()
        return None

    def rounded(self, dtype: torch.dtype) -> list[float]:
        """Return the points as a key of this dtype is compared with them."""
        known = self._rounded.get(dtype)
        if known is None:
            exact = torch.tensor(self.values, dtype=torch.float64, device="cpu")
            known = self._rounded[dtype] = (exact.to(dtype) if dtype.is_floating_point else exact).tolist()
        return known

    def _index_of_few(self, key: Tensor, outside: Outside) -> Tensor:
        points = self.rounded(key.dtype)
        inner, low, high = points[1:-1], points[0], points[-1]
        find = bisect_right if self.closed == "left" else bisect_left
        values = key.reshape(-1).tolist()
        for row, value in enumerate(values):
            if not low <= value <= high:
                self._check(key, row, value, outside)
        index = [find(inner, value) for value in values]
        return torch.tensor(index, dtype=torch.int64, device=key.device).reshape(key.shape)

    def _index_of_many(self, key: Tensor, outside: Outside) -> Tensor:
        floats = self.rounded(key.dtype)
        key = key if key.is_floating_point() else key.double()
        low, high = (float(end) for end in torch.aminmax(key))  # both are NaN if any key is
        if not (low >= floats[0] and high <= floats[-1]):
            flat = key.reshape(-1)
            odd = flat.isnan() if outside == "nearest" else ~((flat >= floats[0]) & (flat <= floats[-1]))
            for row in odd.nonzero()[:1, 0].tolist():
                self._check(key, row, flat[row].item(), outside)
        inner = torch.tensor(floats[1:-1], dtype=key.dtype, device=key.device)
        return torch.bucketize(key.contiguous(), inner, right=self.closed == "left")

    def _check(self, key: Tensor, row: int, value: float, outside: Outside) -> None:
        if not math.isnan(value) and outside == "nearest":
            return
        place = row if key.ndim <= 1 else tuple(int(i) for i in torch.unravel_index(torch.tensor(row), key.shape))
        if math.isnan(value):
            raise ValueError(f"Ranges: a key must be a number, got NaN in row {place}; drop that row, or fill it")
        raise ValueError(
            f"Ranges: a key must be within [{self.values[0]:g}, {self.values[-1]:g}], got {value:g} in row "
            f'{place}; widen the points, or let outside="nearest" take the end range'
        )


def range_without_values(key: Tensor, points: Tensor, closed: Closed) -> Tensor:
    """Return the range of each key by tensor operations alone, in which nothing can raise: a NaN is in -1.

    Args:
        key: any shape, floating point or integer.
        points: float64 (N + 1,); see ``points_for``.
        closed: the end that belongs to a range.
    """
    inner = points_for(key, points)[1:-1]
    key = key.double()
    if len(inner):
        past = key.unsqueeze(-1) >= inner if closed == "left" else key.unsqueeze(-1) > inner
        index = past.sum(-1)
    else:  # a sum of nothing is what onnxruntime gets wrong
        index = torch.zeros_like(key, dtype=torch.int64)
    return torch.where(key.isnan(), -1, index)


def points_for(key: Tensor, points: Tensor) -> Tensor:
    """Return float64 points as a key of this dtype is compared with them, in float64."""
    return (points.to(key.dtype) if key.is_floating_point() else points).double()


def checked(points: Sequence[float]) -> tuple[float, ...]:
    """Return the points as floats, or raise a ValueError that names the one that is wrong."""
    values = _numbers(points)
    if len(values) < 2:
        raise ValueError(f"Ranges: points must be at least two, got {list(values)}; two points make one range")
    for i, value in enumerate(values):
        if math.isnan(value):
            raise ValueError(f"Ranges: points must be numbers, got NaN at position {i}; remove it")
        if i and value == values[i - 1]:
            raise ValueError(f"Ranges: points must differ, got {value:g} twice (position {i}); remove one of the two")
        if i and value < values[i - 1]:
            raise ValueError(
                f"Ranges: points must increase, got {value:g} after {values[i - 1]:g} (position {i}); sort them"
            )
    return values


def _numbers(points: Sequence[float]) -> tuple[float, ...]:
    try:
        given = list(points)
        if any(isinstance(point, str | bytes | bool) for point in given):
            raise TypeError
        return tuple(float(point) for point in given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(
            f"Ranges: points must be a flat sequence of numbers, got {str(points)[:80]}; give them as in [0, 1, 2]"
        ) from None
