"""Each range mapped to [-1, 1] before its branch, so that a narrow range far from zero looks like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad.switch.routers.ranges import Ranges, keep_double
from hardgrad.switch.routers.router import Router


class Normalise(nn.Module):
    r"""Map columns of each row so that the row's range becomes [-1, 1].

    .. math:: x' = \frac{x - (p_i + p_{i+1}) / 2}{(p_{i+1} - p_i) / 2}

    Args:
        ranges: finite ``Ranges``; those of learnt ones at the start stay the reference.
        columns: positions in the last dimension, or True for all.

    Shape:
        rows: (B, ..., F), index: (B,). Returns rows' shape.
    """

    centre: Tensor
    half_width: Tensor

    def __init__(self, ranges: Router, columns: bool | Sequence[int]) -> None:
        super().__init__()
        if not isinstance(ranges, Ranges):
            raise ValueError(
                f"Switch: normalise needs Ranges of one key, got {type(ranges).__name__}; normalise x before the switch"
            )
        if not all(map(math.isfinite, ranges.points)):
            raise ValueError(
                f"Switch: normalise needs finite points, got {list(ranges.points)}; give the outer ranges an end"
            )
        # Kept here and saved, not read from the ranges: a branch that is trained sees its rows on the scale it was
        # trained on, wherever the points move to, and after a range is split.
        points = torch.tensor(ranges.points, dtype=torch.float64)
        self.register_buffer("centre", (points[1:] + points[:-1]) / 2)
        self.register_buffer("half_width", (points[1:] - points[:-1]) / 2)
        self.columns = True if columns is True else [int(column) for column in columns or ()]

    def forward(self, rows: Tensor, index: Tensor) -> Tensor:
        shape = (-1, *[1] * (rows.ndim - 1))
        centre = self.centre.to(rows.dtype)[index].reshape(shape)
        half = self.half_width.to(rows.dtype)[index].reshape(shape)
        mapped = (rows - centre) / half
        if self.columns is True:
            return mapped
        chosen = torch.zeros(rows.shape[-1], dtype=torch.bool, device=rows.device)
        chosen[self.columns] = True
        return torch.where(chosen, mapped, rows)

    def replace(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change which scales there are, one a branch."""
        self.centre, self.half_width = change(self.centre), change(self.half_width)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Normalise:
        return cast(Normalise, super()._apply(keep_double(fn), recurse))

    def extra_repr(self) -> str:
        return f"columns={'all' if self.columns is True else self.columns}"
