"""Several inputs as one table of numbers, a row of the batch a row; a gradient finds its own way back to each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Packed:
    """How inputs lie side by side.

    Args:
        inputs: floating point, the batch first.

    Attributes:
        shapes: those of a row of each.
        table: ``(batch, numbers of a row)``, in single precision at least.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.shapes = [x.shape[1:] for x in inputs]
        self.dtypes = [x.dtype for x in inputs]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        wide = torch.float32 if all(x.dtype != torch.float64 for x in inputs) else torch.float64
        flat = [x.reshape(len(x), size).to(wide) for x, size in zip(inputs, self.sizes, strict=True)]
        self.table = flat[0] if len(flat) == 1 else torch.cat(flat, 1)

    def unpack(self, table: Tensor, wide: bool = False) -> list[Tensor]:
        """Return a table of such inputs as tensors of their shapes, and of their dtypes unless ``wide``."""
        parts = [table] if len(self.sizes) == 1 else table.split(self.sizes, 1)
        each = zip(parts, self.shapes, self.dtypes, strict=True)
        return [part.reshape(part.shape[0], *row).to(part.dtype if wide else dtype) for part, row, dtype in each]
