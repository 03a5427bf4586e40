"""Each range mapped to [-1, 1] before its branch, so that a narrow range far from zero looks like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad.switch.arguments import integer
from hardgrad.switch.conditions.condition import Router
from hardgrad.switch.conditions.on_points import PointRouter, keep_double


class Normalize(nn.Module):
    r"""Map columns of each row so that the row's range becomes [-1, 1].

    .. math:: x' = \frac{x - (p_i + p_{i+1}) / 2}{(p_{i+1} - p_i) / 2}

    Args:
        ranges: finite ``Ranges``; those of learned ones at the start stay the reference.
        columns: positions in the last dimension, or True for all.

    Shape:
        rows: (B, ..., F), index: (B,). Returns rows' shape, computed in float64 and rounded once.
    """

    # With the spelling of the first version: a saved state has these names.
    centre: Tensor
    half_width: Tensor

    def __init__(self, ranges: Router, columns: bool | Sequence[int]) -> None:
        super().__init__()
        if not isinstance(ranges, PointRouter):
            raise ValueError(
                f"Switch: normalize needs Ranges of one key, got {type(ranges).__name__}; normalize x before the switch"
            )
        if not all(map(math.isfinite, ranges.points)):
            raise ValueError(
                f"Switch: normalize needs finite points, got {list(ranges.points)}; give the outer ranges an end"
            )
        # Kept here and saved, not read from the ranges: a branch that is trained sees its rows on the scale it was
        # trained on, wherever the points move to, and after a range is split.
        # Worked out in Python: on the meta device torch's own arithmetic imports its compiler, 85 MB and two seconds.
        pairs = list(pairwise(ranges.points))
        self.register_buffer("centre", torch.tensor([(low + high) / 2 for low, high in pairs], dtype=torch.float64))
        self.register_buffer("half_width", torch.tensor([(high - low) / 2 for low, high in pairs], dtype=torch.float64))
        self.columns = None if columns is True else _positions(columns)

    def forward(self, rows: Tensor, index: Tensor) -> Tensor:
        if self.columns is None:
            return self._mapped(rows, index)
        width = rows.shape[-1] if rows.ndim > 1 else 0
        for column in self.columns:
            if not -width <= column < width:
                raise ValueError(
                    f"Switch: normalize must be columns of x's last dimension, 0 to {width - 1}, got {column}"
                )
        chosen = torch.tensor(sorted({column % width for column in self.columns}), device=rows.device)
        mapped = self._mapped(rows.index_select(-1, chosen), index)
        return rows.to(mapped.dtype).index_copy(-1, chosen, mapped)

    def _mapped(self, rows: Tensor, index: Tensor) -> Tensor:
        shape = (-1, *[1] * (rows.ndim - 1))
        center = self.centre[index].reshape(shape)
        half = self.half_width[index].reshape(shape)
        # In the rows' own precision a center far from zero would be rounded by a good part of a narrow range.
        mapped = (rows - center) / half
        return mapped.to(rows.dtype if rows.is_floating_point() else torch.get_default_dtype())

    def split(self, i: int) -> None:
        """Give a branch put in after branch i the scale of that one."""
        self._replace(lambda scale: torch.cat([scale[: i + 1], scale[i:]]))

    def drop(self, i: int) -> None:
        """Forget the scale of branch i, which is gone."""
        self._replace(lambda scale: torch.cat([scale[:i], scale[i + 1 :]]))

    def copy(self, to: int, of: int) -> None:
        """Give branch ``to`` the scale of branch ``of``."""
        for scale in (self.centre, self.half_width):
            scale[to] = scale[of]

    def differ(self, one: int, other: int) -> bool:
        """Whether two branches have scales that differ."""
        return bool(self.centre[one] != self.centre[other])

    def _replace(self, change: Callable[[Tensor], Tensor]) -> None:
        self.centre, self.half_width = change(self.centre), change(self.half_width)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Normalize:
        return cast(Normalize, super()._apply(keep_double(fn), recurse))

    def extra_repr(self) -> str:
        return f"columns={'all' if self.columns is None else self.columns}"


class Unscaled:
    """No scale: rows go to their branches as they are."""

    def __call__(self, rows: Tensor, index: Tensor) -> Tensor:
        return rows

    def split(self, i: int) -> None:
        pass

    def drop(self, i: int) -> None:
        pass

    def copy(self, to: int, of: int) -> None:
        pass

    def differ(self, one: int, other: int) -> bool:
        return False


def _positions(columns: bool | Sequence[int]) -> list[int]:
    cure = "give columns of x's last dimension, as in [0, 2], or True for all"
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise ValueError(f"Switch: normalize must be True, False or a list of columns, got {columns!r}; {cure}")
    return [integer("Switch", "normalize", column, cure) for column in columns]
