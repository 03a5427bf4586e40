"""Several keys at once: the product of their ranges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from hardgrad.switch.conditions.condition import Router, check_key, count, counting, without_values
from hardgrad.switch.conditions.on_points import PointRouter


@final
class Grid(Router):
    """The condition of a hard IF on several keys: every combination of their ranges is a cell.

    Args:
        ranges: one ``Ranges`` for each key, K of them.
        share: which branch each cell leads to, as nested lists shaped like the grid, so that a grid need not have as
            many branches as cells. The branch numbers must be 0 .. n - 1 without a gap. Default: one branch a cell,
            the last key running fastest.

    Shape:
        key: (..., K). Returns int64 (...); as ``Ranges``, -1 for a NaN where none can raise.

    Attributes:
        cells: int64, the branch of each cell, shaped like the grid.
        axes: the ``Ranges``, each with its own counters.

    Raises:
        ValueError: for no ranges, a ``share`` of another shape or with a gap, or a key of another last dimension.

    Example:
        >>> import torch, hardgrad as hg
        >>> grid = hg.Grid(hg.Ranges([-1, 0, 1]), hg.Ranges([0, 10, 100]), share=[[0, 1], [0, 2]])
        >>> grid(torch.tensor([[-0.5, 3.0], [0.5, 3.0], [0.5, 30.0]])).tolist()
        [0, 0, 2]
        >>> grid.label(0)
        '[-1, 0) x [0, 10) or [0, 1] x [0, 10)'
    """

    def __init__(self, *ranges: PointRouter, share: Sequence[Any] | None = None) -> None:
        if not ranges:
            raise ValueError("Grid: ranges must be at least one, got none; give one Ranges for each key")
        for axis in ranges:
            if not isinstance(axis, PointRouter):
                raise ValueError(
                    f"Grid: ranges must be Ranges, one for each key, got {type(axis).__name__}; write Grid(one, other)"
                )
        shape = tuple(len(axis) for axis in ranges)
        # Python numbers: a buffer that is not saved would be lost by a model that is built without memory and filled.
        self._cells = list(range(prod(shape))) if share is None else _shared(share, shape)
        super().__init__(len(set(self._cells)), keys=len(ranges))
        self._shape = shape
        self._plain = self._cells == list(range(prod(shape)))
        self.axes = nn.ModuleList(ranges)

    @property
    def cells(self) -> Tensor:
        return torch.tensor(self._cells, dtype=torch.int64, device=self.visits.device).reshape(self._shape)

    def index(self, key: Tensor) -> Tensor:
        check_key("Grid", key)
        if key.shape[-1:] != (self.keys,):
            raise ValueError(
                f"Grid: key must have shape (..., {self.keys}), one number for each ranges, got {tuple(key.shape)}"
            )
        places = [cast(PointRouter, axis).index(key[..., i]) for i, axis in enumerate(self.axes)]
        cell = places[0]
        for place, width in zip(places[1:], self._shape[1:], strict=True):
            cell = cell * width + place
        if not without_values(cell):
            return cell if self._plain else self._branch(cell)
        known = torch.stack(places).amin(0) >= 0
        return torch.where(known, self._branch(torch.where(known, cell, 0)), -1)

    def _branch(self, cell: Tensor) -> Tensor:
        return torch.tensor(self._cells, dtype=torch.int64, device=cell.device)[cell]

    def add_visits(self, counts: Tensor, key: Tensor | None = None) -> None:
        super().add_visits(counts)
        if key is None or not counting():
            return
        for i, axis in enumerate(cast("list[PointRouter]", list(self.axes))):
            others = [other for other in range(self.keys) if other != i]
            if not self._plain:  # branches do not say which cells they were
                visits = count(axis.index(key[..., i]).reshape(-1), len(axis))
            else:
                visits = counts.reshape(self._shape).sum(others) if others else counts
            axis.add_visits(visits, key[..., i])

    def label(self, i: int) -> str:
        axes = [[axis.label(j) for j in range(len(axis))] for axis in self.axes if isinstance(axis, PointRouter)]
        cells = zip(itertools.product(*axes), self._cells, strict=True)
        return " or ".join(" x ".join(names) for names, branch in cells if branch == i)


def _shared(share: Sequence[Any], shape: tuple[int, ...]) -> list[int]:
    try:
        cells = torch.as_tensor(share, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"Grid: share must be nested lists of the grid's shape {shape}, got {share}") from None
    if cells.shape != shape:
        raise ValueError(
            f"Grid: share must have the grid's shape {shape}, got {tuple(cells.shape)}; give one branch number a cell"
        )
    if cells.is_floating_point() or cells.is_complex() or cells.dtype is torch.bool:
        raise ValueError(f"Grid: share must hold whole numbers, got {cells.dtype}; write 0 and not 0.0")
    flat: list[int] = cells.reshape(-1).tolist()
    used = sorted(set(flat))
    if used != list(range(len(used))):
        raise ValueError(f"Grid: share must number the branches from 0 without a gap, got {used}; renumber them")
    return flat
