"""Every branch on its own rows, maybe none: for compiled and exported graphs, in which nothing can be read back."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import tracing
from hardgrad.switch.branches.marks import Marked, Marks
from hardgrad.switch.branches.outputs import as_column, one_dtype, one_shape, one_tensor
from hardgrad.switch.branches.state import buffers_of, put_back


def run_in_graph(branches: nn.ModuleList, rows: Tensor, index: Tensor, counts: Tensor, marks: Marks | None) -> Tensor:
    """Run every branch on its rows, maybe none: for a graph. A row of no branch becomes NaN.

    Written in one piece: where torch.compile breaks the graph at the first size that follows from a value, this runs as
    it is, and a function called from here would become a graph of its own.
    """
    y: Tensor | None = None
    for i, branch in enumerate(branches):
        mine = (index == i).nonzero()[:, 0]
        kept = buffers_of(branch) if branch.training else []
        output: Tensor = branch(rows[mine])
        if not isinstance(output, Tensor) or not output.ndim:
            one_tensor(i, output, mine.shape[0])
        if not tracing():
            torch._check(output.shape[0] == mine.shape[0], lambda: "Switch: branches must return one output for a row")
        if kept:
            put_back(kept, unless=(index == i).any())
        if y is None:
            fill = math.nan if output.is_floating_point() or output.is_complex() else 0
            y = output.new_full((rows.shape[0], *output.shape[1:]), fill)
        elif output.shape[1:] != y.shape[1:]:
            one_shape((0, i), (y, output))
        if output.dtype != y.dtype:
            dtype = one_dtype((y, output))
            y, output = _wider(y, index, i, dtype), output.to(dtype)
        y = y.index_put((mine,), output)
    assert y is not None
    return y if marks is None or not y.requires_grad else cast(Tensor, Marked.apply(y, marks.leaf, counts))


def _wider(y: Tensor, index: Tensor, i: int, dtype: torch.dtype) -> Tensor:
    """Return y in a wider dtype; what no branch before i filled is NaN if it can be."""
    y = y.to(dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        return y
    return torch.where(as_column((index < 0) | (index >= i), y), math.nan, y)
