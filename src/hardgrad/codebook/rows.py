"""What every layer of codes does: rows in, some of them masked; out a value, an index, and a gradient or a word."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import exporting, may_need_gradient, readable
from hardgrad._tracing import has_autocast
from hardgrad.hard.precision import back, single
from hardgrad.no_gradient import no_gradient
from hardgrad.penalty.add import add_penalty


class CodeLayer(nn.Module):
    """A layer that is called as ``y, index = layer(x, mask=None)``.

    Args:
        heads: parts of a row, each with an index of its own.
        width: of a row, all heads together.
        dim: where x has its width.
        differentiable_in_eval: lend the gradient in ``eval()`` too.
    """

    word = "Codebook"

    def __init__(self, heads: int, width: int, dim: int, differentiable_in_eval: bool) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.dim = _check.whole(self.word, "dim", dim)
        self.differentiable_in_eval = _check.flag(self.word, "differentiable_in_eval", differentiable_in_eval)

    def _rows(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return rows (..., heads, width of a head), single precision at least, and which are real; the rest are 0."""
        self._check_input(x, mask)
        (rows,) = present(mask, single(x.movedim(self.dim, -1)).unflatten(-1, (self.heads, -1)))
        if not readable(x):  # a row that cannot be refused is NaN, and no other feels it
            good = rows.detach().isfinite().all(-1).all(-1)
            return rows, good if mask is None else good & mask
        if not rows.detach().sum().isfinite():  # of all, in less time than each of them takes
            self._refuse(rows)
        return rows, mask

    def _refuse(self, rows: Tensor) -> None:
        bad = ~rows.detach().isfinite().all(-1).all(-1)
        if bool(bad.any()):  # else their sum alone is too large
            raise ValueError(
                f"{self.word}: x must be finite, got {int(bad.sum())} of {bad.numel()} rows with NaN or infinity; look "
                "for what made them, or leave them out by mask"
            )

    def _value(
        self, x: Tensor, rows: Tensor, code: Tensor, index: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return y and its index as the user gets them."""
        value = back(code, x.dtype)
        if keep is None:
            index = index.clone()  # the caller may write into it
        else:
            # Zero for a masked row, NaN for one that is not finite.
            absent = (rows.detach() * 0).sum((-2, -1), keepdim=True)
            value = torch.where(keep[..., None, None], value, absent.to(x.dtype))
            index = torch.where(keep.unsqueeze(-1), index, -1)
        return self._laid_out(value), index.squeeze(-1) if self.heads == 1 else index

    def _laid_out(self, rows: Tensor) -> Tensor:
        return rows.flatten(-2).movedim(-1, self.dim)

    def _differentiable(self, x: Tensor) -> bool:
        if self.training or not self.differentiable_in_eval:
            return self.training and torch.is_grad_enabled()
        return torch.is_grad_enabled() and may_need_gradient(x)

    def _alone(self, x: Tensor, value: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        if exporting() or not torch.is_grad_enabled():
            return value, index
        return no_gradient(value, x, self, self._why_no_gradient), index

    def _why_no_gradient(self) -> str:
        return (
            f"{self.word}: no gradient passes through this layer in eval(), so the layers before it get zeros; "
            "differentiable_in_eval=True lends one there too, .train() as in training"
        )

    def _check_input(self, x: Tensor, mask: Tensor | None) -> None:
        _check.floating(self.word, "x", x)
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != self.width:
            raise ValueError(
                f"{self.word}: x must have the width {self.width} at dim {self.dim}, got shape {tuple(x.shape)}; "
                "give another dim, or a layer before it that has this width"
            )
        shape = x.select(self.dim, 0).shape
        if mask is not None and (
            _check.tensor(self.word, "mask", mask).dtype != torch.bool or mask.shape != shape or mask.device != x.device
        ):
            raise ValueError(
                f"{self.word}: mask must be bool of shape {tuple(shape)} on {x.device}, True where a row is real, got "
                f"{mask.dtype} of shape {tuple(mask.shape)} on {mask.device}"
            )

    def _check_index(self, index: Tensor, codes: int) -> None:
        if _check.tensor(self.word, "index", index).dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
            raise TypeError(f"{self.word}: index must be of whole numbers, got {index.dtype}; give what forward gave")
        if readable(index) and index.numel() and not -1 <= int(index.min()) <= int(index.max()) < codes:
            raise ValueError(
                f"{self.word}: index must be from 0 to {codes - 1}, or -1 for a masked row, got numbers from "
                f"{int(index.min())} to {int(index.max())}; is it another layer's?"
            )


def present(keep: Tensor | None, *rows: Tensor) -> tuple[Tensor, ...]:
    """Return rows (..., heads, width of a head) with zeros where none is to be kept."""
    return rows if keep is None else tuple(torch.where(keep[..., None, None], each, 0) for each in rows)


def carrying(module: nn.Module, path: Tensor, terms: list[Tensor]) -> Tensor:
    """Return a path that carries the terms of a layer, if it has any."""
    return add_penalty(module, path, torch.stack(terms).sum()) if terms else path


def precise(x: Tensor) -> AbstractContextManager[object]:
    """Keep autocast out of a matrix product of tensors on x's device."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if has_autocast(kind) else nullcontext()
