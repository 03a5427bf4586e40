"""Several keys at once: the product of their ranges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.switch.routers.ranges import Ranges, check_key
from hardgrad.switch.routers.router import Router


class Grid(Router):
    """The condition of a hard IF on several keys: every combination of their ranges is a cell.

    Args:
        ranges: one ``Ranges`` for each key, K of them.
        share: which branch each cell leads to, as nested lists shaped like the grid, so that a grid need not have as
            many branches as cells. The branch numbers must be 0 .. n - 1 without a gap. Default: one branch a cell,
            the last key running fastest.

    Shape:
        key: (..., K). Returns int64 (...).

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

    cells: Tensor

    def __init__(self, *ranges: Ranges, share: Sequence[Any] | None = None) -> None:
        if not ranges:
            raise ValueError("Grid: ranges must be at least one, got none")
        shape = tuple(len(axis) for axis in ranges)
        cells = torch.arange(prod(shape)).reshape(shape) if share is None else torch.tensor(share)
        if cells.shape != shape:
            raise ValueError(
                f"Grid: share must have the grid's shape {shape}, got {tuple(cells.shape)}; "
                "give one branch number a cell"
            )
        used = cells.unique().tolist()
        if used != list(range(len(used))):
            raise ValueError(f"Grid: share must number the branches from 0 without a gap, got {used}; renumber them")
        super().__init__(len(used), keys=len(ranges))
        self.axes = nn.ModuleList(ranges)
        self.register_buffer("cells", cells, persistent=False)

    def index(self, key: Tensor) -> Tensor:
        check_key("Grid", key)
        if key.shape[-1:] != (self.keys,):
            raise ValueError(
                f"Grid: key must have shape (..., {self.keys}), one number for each ranges, got {tuple(key.shape)}"
            )
        return self.cells[tuple(axis(key[..., i]) for i, axis in enumerate(self.axes))]

    def label(self, i: int) -> str:
        axes = [[axis.label(j) for j in range(len(axis))] for axis in self.axes if isinstance(axis, Ranges)]
        cells = zip(itertools.product(*axes), self.cells.reshape(-1).tolist(), strict=True)
        return " or ".join(" x ".join(names) for names, branch in cells if branch == i)
