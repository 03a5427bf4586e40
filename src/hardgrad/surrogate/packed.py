"""Several inputs as one table of numbers, a row of the batch a row; a gradient finds its own way back to each."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Packed:
    """How the perturbed inputs lie side by side.

    Args:
        inputs: floating point, the batch first.

    Attributes:
        table: shape ``(batch, numbers of a row)``, in single precision at least.
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        self.rows = [x.shape[1:] for x in inputs]
        self.dtypes = [x.dtype for x in inputs]
        self.sizes = [math.prod(row) for row in self.rows]
        wide = torch.float32
        for dtype in self.dtypes:
            wide = torch.promote_types(wide, dtype)
        flat = [x.reshape(len(x), size).to(wide) for x, size in zip(inputs, self.sizes, strict=True)]
        self.table = flat[0] if len(flat) == 1 else torch.cat(flat, 1)

    def unpack(self, table: Tensor, round_to_inputs: bool) -> list[Tensor]:
        """Return a table of these inputs as tensors of their shapes, and of their dtypes if asked."""
        parts = zip(table.split(self.sizes, 1), self.rows, self.dtypes, strict=True)
        return [part.reshape(len(part), *row).to(dtype if round_to_inputs else part.dtype) for part, row, dtype in parts]

    def rounded(self, table: Tensor) -> Tensor:
        """Return a table as the inputs' dtypes can hold it."""
        return Packed(self.unpack(table, round_to_inputs=True)).table
