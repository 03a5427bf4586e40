"""The branches of a layer, with the scales of their rows and a bank: the one object that runs rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardgrad._torch_state import exporting, hides_values, in_compiled_transform
from hardgrad.switch.branches.bank.bank import Bank
from hardgrad.switch.branches.batch import Batch
from hardgrad.switch.branches.everywhere import refuse_batch_statistics, run_everywhere
from hardgrad.switch.branches.graph import run_in_graph
from hardgrad.switch.branches.marks import Marks
from hardgrad.switch.branches.normalize import Normalize, Unscaled
from hardgrad.switch.branches.predict import predict
from hardgrad.switch.branches.ways import WAYS
from hardgrad.switch.conditions.condition import Router, count, without_values


class Branches:
    """Modules, one a range; the scales of their rows; a bank that runs them together; the marks of their gradients.

    No module, and made anew at every call: the layer itself holds the modules, so that its state has their names
    (``branches.0.weight``, ``normalise.centre``), and in a replica of ``DataParallel`` they are others.

    Args:
        modules: one a range.
        normalize: maps each range's rows to [-1, 1]; None leaves them as they are.
        bank: runs equal branches in few kernels, if they are to.
        marks: where a backward through a graph writes which branches had rows.
        dtype: of the rows that a branch gets; None for the one they have.
    """

    def __init__(
        self,
        modules: nn.ModuleList,
        normalize: Normalize | None = None,
        *,
        bank: Bank | None = None,
        marks: Marks | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.modules = modules
        self.scales = Unscaled() if normalize is None else normalize
        self.bank = bank
        self.marks = marks
        self.dtype = dtype

    def scaled(self, rows: Tensor, index: Tensor) -> Tensor:
        """Return rows (M, ...) as the branches with these numbers (M,) get them."""
        rows = self.scales(rows, index)
        return rows if self.dtype is None else rows.to(self.dtype)

    def run(
        self,
        rows: Tensor,
        index: Tensor,
        condition: Router | None = None,
        key: Tensor | None = None,
        *,
        owned: bool = False,
    ) -> Tensor:
        """Return each row's output, in the rows' order; in eager code branches without a row do not run.

        Args:
            rows: (B, ...), not scaled; not written to, whatever a branch does with what it gets.
            index: int64 (B,), the branch of each row; -1 for none, where no value can be read.
            condition: whose visits are counted; None counts none.
            key: of each row, for what else the condition counts.
            owned: whether nobody else holds the memory of rows.
        """
        own = self.scaled(rows, index)
        if without_values(index):
            # Where torch.compile traces a torch.func transform, it cannot break the graph at a size that follows from
            # values.
            if hides_values(index) or in_compiled_transform():
                return run_everywhere(self.modules, own, index)
            counts = count(index, len(self.modules))
            if condition is not None:
                condition.add_visits(counts, key)
            if exporting():
                refuse_batch_statistics(self.modules)
            marks = self.marks if self.marks is not None and self.marks.wanted() else None
            return run_in_graph(self.modules, own, index, counts, marks)
        counts = torch.bincount(index, minlength=len(self.modules))
        if condition is not None:
            condition.add_visits(counts, key)
        batch = Batch(self.modules, self.bank, own, index, counts.tolist(), owned or own is not rows)
        y: Tensor | None = None
        for way in WAYS:
            if (y := way(batch)) is not None:
                break
        assert y is not None
        return y

    def predict(self, rows: Tensor, index: Tensor) -> Tensor:
        """Return what given branches make of rows in evaluation mode, without a gradient: nothing in them moves.

        Args:
            rows: (M, ...), not scaled.
            index: int64 (M,), which branch is asked for each.
        """
        return predict(self.modules, self.scaled(rows.detach(), index), index)
