"""The hard half of a codebook: which code each row takes, and what mistakes are called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import readable
from hardgrad._tracing import has_autocast
from hardgrad.codebook.moving import at_least_single
from hardgrad.hard import checks
from hardgrad.hard.distances import nearest_row


class HardCodebook(nn.Module):
    """What a ``Codebook`` does without a gradient; its arguments are explained there.

    Args:
        weight: shape (heads, codes, width of a head).
        dim: where x has its width.
        distance: "euclidean" or "cosine".
    """

    word = "Codebook"
    weight: Tensor

    def __init__(self, weight: Tensor, dim: int, distance: str) -> None:
        super().__init__()
        self.dim, self.distance = dim, distance
        self.register_buffer("weight", weight)

    def codes(self, index: Tensor) -> Tensor:
        """Return the codes of an index, (...) or of several heads (..., heads), laid out as y is; zeros for -1.

        Raises:
            TypeError: if the index holds no whole numbers.
            ValueError: if it is out of range, or its last dimension is not the heads.
        """
        heads, codes, _ = self.weight.shape
        if _check.tensor(self.word, "index", index).dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
            raise TypeError(f"{self.word}: index must be of whole numbers, got {index.dtype}; give what forward gave")
        if heads > 1 and (index.ndim == 0 or index.shape[-1] != heads):
            raise ValueError(f"{self.word}: index must have {heads} heads at its end, got shape {tuple(index.shape)}")
        if readable(index) and index.numel() and not -1 <= int(index.min()) <= int(index.max()) < codes:
            raise ValueError(
                f"{self.word}: index must be from 0 to {codes - 1}, or -1 for a masked row, got numbers from "
                f"{int(index.min())} to {int(index.max())}; is it another codebook's?"
            )
        index = index.long() if heads > 1 else index.long().unsqueeze(-1)
        taken = self._taken(self._table(), index.clamp(min=0))
        return self._laid_out(torch.where((index >= 0).unsqueeze(-1), taken, 0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        weight = self._buffers.pop("weight", None)  # means that move by less than half precision can tell
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if weight is not None:
            self._buffers["weight"] = at_least_single(fn)(weight)
        return self

    def _rows(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return rows (..., heads, width of a head), single precision at least, and which are real; the rest are 0."""
        self._check_input(x, mask)
        wide = torch.promote_types(torch.promote_types(x.dtype, self.weight.dtype), torch.float32)
        rows = x.movedim(self.dim, -1).to(wide).unflatten(-1, (len(self.weight), -1))
        if mask is not None:
            rows = torch.where(mask[..., None, None], rows, 0)
        if not readable(x):  # a row that cannot be refused is NaN, and no other feels it
            good = rows.detach().isfinite().all(-1).all(-1)
            return self._compared(rows), good if mask is None else good & mask
        if not rows.detach().sum().isfinite():  # of all, in less time than each of them takes
            self._refuse(rows)
        return self._compared(rows), mask

    def _refuse(self, rows: Tensor) -> None:
        bad = ~rows.detach().isfinite().all(-1).all(-1)
        if bool(bad.any()):  # else their sum alone is too large
            raise ValueError(
                f"{self.word}: x must be finite, got {int(bad.sum())} of {bad.numel()} rows with NaN or infinity; look "
                "for what made them, or leave them out by mask"
            )

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
        with precise(rows):
            each = [nearest_row(flat[:, head], codes) for head, codes in enumerate(table.to(rows.dtype))]
        return torch.stack(each, -1).view(rows.shape[:-1])

    def _taken(self, table: Tensor, index: Tensor) -> Tensor:
        """Return the codes of an index (..., heads), (..., heads, width of a head)."""
        heads, codes, width = table.shape
        flat = index if heads == 1 else index + codes * torch.arange(heads, device=index.device)
        return table.reshape(-1, width).index_select(0, flat.reshape(-1)).view(*index.shape, width)

    def _value(
        self, x: Tensor, rows: Tensor, code: Tensor, index: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return y and its index as the user gets them."""
        value = code.to(x.dtype)
        if keep is None:
            index = index.clone()  # the caller may write into it
        else:
            # Zero for a masked row, NaN for one that is not finite.
            absent = (rows.detach() * 0).sum((-2, -1), keepdim=True)
            value = torch.where(keep[..., None, None], value, absent.to(x.dtype))
            index = torch.where(keep.unsqueeze(-1), index, -1)
        return self._laid_out(value), index.squeeze(-1) if len(self.weight) == 1 else index

    def _laid_out(self, rows: Tensor) -> Tensor:
        return rows.flatten(-2).movedim(-1, self.dim)

    def _check_input(self, x: Tensor, mask: Tensor | None) -> None:
        heads, _, width = self.weight.shape
        _check.floating(self.word, "x", x)
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != heads * width:
            raise ValueError(
                f"{self.word}: x must have the width {heads * width} at dim {self.dim}, got shape {tuple(x.shape)}; "
                "give another dim, or a layer before it that has this width"
            )
        checks.same_device(self.word, x, self.weight, "layer")
        shape = x.select(self.dim, 0).shape
        if mask is not None and (
            _check.tensor(self.word, "mask", mask).dtype != torch.bool or mask.shape != shape or mask.device != x.device
        ):
            raise ValueError(
                f"{self.word}: mask must be bool of shape {tuple(shape)} on {x.device}, True where a row is real, got "
                f"{mask.dtype} of shape {tuple(mask.shape)} on {mask.device}"
            )

    def extra_repr(self) -> str:
        heads, codes, width = self.weight.shape
        return f"{codes}, {heads * width}, heads={heads}, dim={self.dim}, distance={self.distance!r}"


def precise(x: Tensor) -> AbstractContextManager[object]:
    """Keep autocast out, which would compare rows in half precision."""
    kind = x.device.type
    cast = has_autocast(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if cast else nullcontext()
