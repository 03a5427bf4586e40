"""One layer of a stack that ranges share, run on the rows that take it and handed the others on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad._torch_state import hides_values, in_graph, in_transform
from hardgrad.switch.branches.everywhere import batch_statistics, harmless_rows
from hardgrad.switch.branches.outputs import as_column
from hardgrad.switch.branches.state import output_of_copy, state_kept
from hardgrad.switch.branches.ways import leaves_input_alone

STATISTICS = (
    "LayerMask: layer {} ({}) normalizes by the statistics of its batch, which a graph and vmap cannot keep to its own "
    "rows; put it in eval(), use a LayerNorm or GroupNorm, or let torch.compile break the graph here (fullgraph=False)"
)


class SharedLayer:
    """A layer of the stack; made anew at every call, since the stack is what holds the module.

    Args:
        number: its place in the stack.
        module: the layer.
        skippable: whether some range may skip it, so that it must return its input's shape.
    """

    def __init__(self, number: int, module: nn.Module, skippable: bool) -> None:
        self.number, self.module, self.skippable = number, module, skippable

    def __str__(self) -> str:
        return f"LayerMask: layer {self.number} ({type(self.module).__name__})"

    def mixes_rows(self) -> str:
        """Return why this layer cannot run where rows cannot be kept apart, or nothing."""
        mixes = self.skippable and batch_statistics(self.module)
        return STATISTICS.format(self.number, type(self.module).__name__) if mixes else ""

    def run(self, rows: Tensor, runs: Tensor, caller: Tensor) -> Tensor:
        """Return all rows, after those that take this layer ran through it.

        Args:
            rows: (B, ...).
            runs: bool (B, L), which row takes which layer.
            caller: the tensor that the user handed over, whose memory no layer may write to.
        """
        if not self.skippable:
            return self._in_graph(rows, caller) if in_graph() else self._call(rows, caller)
        taken = runs[:, self.number]
        if hides_values(taken):
            return self._for_all(rows, taken)
        mine = taken.nonzero()[:, 0]
        if not in_graph():
            if not len(mine):
                return rows
            if len(mine) == len(rows):
                return self._same_shape(rows, caller)
        some = rows.index_select(0, mine)
        y = self._in_graph(some, None) if in_graph() else self._same_shape(some, None)
        return rows.index_put((mine,), y)

    def row_of_no_rows(self, row: Tensor) -> Tensor:
        """Return what one row becomes, (1, ...), where no layer may run: a copy tells where its shape may change."""
        if self.skippable:
            return row
        return self._checked(row, output_of_copy("LayerMask", f"layer {self.number}", self.module, row))

    def _for_all(self, rows: Tensor, taken: Tensor) -> Tensor:
        """Run the layer on all rows, harmless ones in place of those that skip it: under vmap none can be picked."""
        if reason := self.mixes_rows():
            raise RuntimeError(reason)
        taken = as_column(taken, rows)
        return torch.where(taken, self._same_shape(torch.where(taken, rows, harmless_rows(rows)), None), rows)

    def _in_graph(self, rows: Tensor, caller: Tensor | None) -> Tensor:
        """Run the layer on its rows, maybe none; what it keeps of a batch stays as it was if there are none."""
        some = torch.ones(rows.shape[:1], dtype=torch.int64, device=rows.device).sum() > 0
        with state_kept(self.module, unless=some):
            return self._same_shape(rows, caller) if self.skippable else self._call(rows, caller)

    def _same_shape(self, rows: Tensor, caller: Tensor | None) -> Tensor:
        y = self._call(rows, caller)
        if y.shape[1:] != rows.shape[1:]:
            raise ValueError(
                f"{self} may be skipped, so it must return its input's shape for a row, {tuple(rows.shape[1:])}, got "
                f"{tuple(y.shape[1:])}; enable it in every range without dropout, or give it equal sizes"
            )
        return y.to(rows.dtype)  # whoever else is in the batch, under autocast too

    def _call(self, rows: Tensor, caller: Tensor | None) -> Tensor:
        """Call the layer on rows; where they may be the caller's own memory, on a copy if it may write."""
        if caller is not None and not leaves_input_alone(self.module) and _same_memory(rows, caller):
            rows = rows.clone()
        return self._checked(rows, self.module(rows))

    def _checked(self, rows: Tensor, y: Any) -> Tensor:
        if not isinstance(y, Tensor):
            raise ValueError(
                f"{self} must return one tensor, got {type(y).__name__}; wrap it in a module that returns the output "
                "alone"
            )
        if not y.ndim or (not in_graph() and len(y) != len(rows)):
            raise ValueError(f"{self} must return one output a row, {len(rows)} of them, got {tuple(y.shape)}")
        return y


def _same_memory(rows: Tensor, caller: Tensor) -> bool:
    if in_graph() or in_transform():
        return True  # there nobody can tell, and a copy costs little
    return rows.untyped_storage().data_ptr() == caller.untyped_storage().data_ptr()
