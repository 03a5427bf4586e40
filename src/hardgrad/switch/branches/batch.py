"""A batch of rows whose branches are known: what every way of running it in eager code is handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from hardgrad.switch.branches.bank.bank import Bank


class Batch(NamedTuple):
    """Rows to be run.

    Attributes:
        modules: the branches.
        bank: runs them together; None if they are not to.
        rows: (B, ...), scaled.
        branch: int64 (B,), the branch of each row.
        sizes: how many rows each branch has.
        owned: whether nobody else holds the memory of rows.
    """

    modules: nn.ModuleList
    bank: Bank | None
    rows: Tensor
    branch: Tensor
    sizes: list[int]
    owned: bool

    @property
    def visited(self) -> list[int]:
        """The branches that have rows."""
        return [i for i, size in enumerate(self.sizes) if size]


# Returns the outputs in the rows' order, or None for a batch that is not for it.
Way = Callable[[Batch], Tensor | None]
