"""The hard half of a codebook: which code each row takes, and what mistakes are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from hardgrad.codebook.moving import at_least_single
from hardgrad.codebook.rows import CodeLayer
from hardgrad.hard import checks
from hardgrad.hard.distances import nearest_row


class HardCodebook(CodeLayer):
    """What a ``Codebook`` does without a gradient; its arguments are explained there.

    Args:
        weight: shape (heads, codes, width of a head).
        dim: where x has its width.
        distance: "euclidean" or "cosine".
    """

    weight: Tensor

    def __init__(self, weight: Tensor, dim: int, distance: str, differentiable_in_eval: bool) -> None:
        heads, _, width = weight.shape
        super().__init__(heads, heads * width, dim, differentiable_in_eval)
        self.distance = distance
        self.register_buffer("weight", weight)

    def codes(self, index: Tensor) -> Tensor:
        """Return the codes of an index, (...) or of several heads (..., heads), laid out as y is; zeros for -1.

        Raises:
            TypeError: if the index holds no whole numbers.
            ValueError: if it is out of range, or its last dimension is not the heads.
        """
        heads, codes, _ = self.weight.shape
        self._check_index(index, codes)
        if heads > 1 and (index.ndim == 0 or index.shape[-1] != heads):
            raise ValueError(f"{self.word}: index must have {heads} heads at its end, got shape {tuple(index.shape)}")
        index = index.long() if heads > 1 else index.long().unsqueeze(-1)
        taken = self._taken(self._table(), index.clamp(min=0))
        return self._laid_out(torch.where((index >= 0).unsqueeze(-1), taken, 0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        weight = self._buffers.pop("weight", None)  # means that move by less than half precision can tell
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's has no types
        if weight is not None:
            self._buffers["weight"] = at_least_single(fn)(weight)
        return self

    def _rows(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows, keep = super()._rows(x, mask)
        checks.same_device(self.word, x, self.weight, "layer")
        return self._compared(rows.to(torch.promote_types(rows.dtype, self.weight.dtype))), keep

    def _compared(self, vectors: Tensor) -> Tensor:
        """Return vectors as their distance sees them."""
        if self.distance == "euclidean":
            return vectors
        norm: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        return vectors / norm.masked_fill(norm == 0, 1)

    def _table(self) -> Tensor:
        """Return the codes that rows are replaced by, (heads, codes, width of a head)."""
        raise NotImplementedError

    def _look_up(self, rows: Tensor, keep: Tensor | None, counted: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the nearest code to each row, which gets the codes' gradient, and its number (..., heads).

        Args:
            rows: shape (..., heads, width of a head).
            keep: shape (...), rows that codes may begin at.
            counted: rows that codes learn from.
        """
        table = self._table()
        found = self._nearest(rows, table.detach())
        return self._taken(table, found), found

    def _nearest(self, rows: Tensor, table: Tensor) -> Tensor:
        flat = rows.detach().reshape(-1, *rows.shape[-2:])
        each = [nearest_row(flat[:, head], codes) for head, codes in enumerate(table.to(rows.dtype))]
        return torch.stack(each, -1).view(rows.shape[:-1])

    def _taken(self, table: Tensor, index: Tensor) -> Tensor:
        """Return the codes of an index (..., heads), (..., heads, width of a head)."""
        heads, codes, width = table.shape
        flat = index if heads == 1 else index + codes * torch.arange(heads, device=index.device)
        return table.reshape(-1, width).index_select(0, flat.reshape(-1)).view(*index.shape, width)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.width}, heads={self.heads}, dim={self.dim}, distance={self.distance!r}"
