"""Codes that are computed, not stored: each number of a row goes to one of a few levels, and the levels make an index.

The index counts in mixed base, the first number fastest: digit i counts as many as the levels before it have codes.
"""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._torch_state import exporting, may_need_gradient, readable
from hardgrad.hard import checks
from hardgrad.hard.precision import back, single
from hardgrad.no_gradient import no_gradient


class ComputedCodes(nn.Module):
    """What ``levels`` and ``lookup_free`` return; their arguments are explained there.

    Args:
        sizes: how many levels each number of a row has; digits run from 0 to these.
        centers: the value of a digit is ``(digit - center) / center``.
        dim: the dimension of x that holds the numbers of a row.
        differentiable_in_eval: lend the gradient in ``eval()`` too.
    """

    word = "levels"

    def __init__(
        self, sizes: tuple[int, ...], centers: tuple[float, ...], *, dim: int, differentiable_in_eval: bool
    ) -> None:
        super().__init__()
        self.sizes, self.centers = sizes, centers
        self.dim = _check.whole(self.word, "dim", dim)
        self.differentiable_in_eval = _check.flag(self.word, "differentiable_in_eval", differentiable_in_eval)

    def _encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the digits of rows (..., n), whole numbers, and the path of the gradient."""
        raise NotImplementedError

    def _with_penalty(self, path: Tensor, rows: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
        return path

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, keep = self._rows(x, mask)
        lends = torch.is_grad_enabled() and (self.training or (self.differentiable_in_eval and may_need_gradient(x)))
        digits, path = self._encode(rows if lends else rows.detach())
        value, index = self._value(digits), (digits.long() * self._places(digits)).sum(-1)
        if keep is not None:
            absent = (rows.detach() * 0).sum(-1, keepdim=True)  # 0 for a masked row, NaN for one that is not finite
            value, index = torch.where(keep.unsqueeze(-1), value, absent), torch.where(keep, index, -1)
        if lends and self.training:
            path = self._with_penalty(path, rows, value, keep)
        y = back(value, x.dtype).movedim(-1, self.dim)
        if lends:
            return graft(y, path.movedim(-1, self.dim)), index
        if exporting() or not torch.is_grad_enabled():
            return y, index
        return no_gradient(y.contiguous(), x, self, self._why_no_gradient), index

    def codes(self, index: Tensor) -> Tensor:
        """Return the values that indices stand for: zeros for -1, a row that was masked.

        Args:
            index: whole numbers from -1 to the number of codes less 1, any shape.

        Returns:
            A tensor of torch's default dtype, of index's shape with the numbers of a row at the layer's ``dim``. Where
            nothing can be read back (a graph, a GPU) an index out of range gives NaN.

        Raises:
            ValueError: for an index out of range.
            TypeError: if ``index`` is not a tensor of whole numbers.
        """
        if _check.tensor(self.word, "index", index).is_floating_point() or index.dtype == torch.bool:
            raise TypeError(f"{self.word}: index must be of whole numbers, got {index.dtype}; give what the layer gave")
        count = math.prod(self.sizes)
        wrong = (index < -1) | (index >= count)
        if readable(index) and wrong.any():
            raise ValueError(
                f"{self.word}: index must be from -1 to {count - 1}, got {index[wrong][0]}; decode with the layer that "
                "made it"
            )
        digits = torch.div(index.unsqueeze(-1), self._places(index), rounding_mode="floor")
        value = self._value((digits % self._numbers(self.sizes, digits)).to(torch.get_default_dtype()))
        value = value.masked_fill((index == -1).unsqueeze(-1), 0.0).masked_fill(wrong.unsqueeze(-1), torch.nan)
        return value.movedim(-1, self.dim)

    def _rows(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return rows (..., n), single precision at least and 0 where masked, and which are to be taken; None: all."""
        checks.floating(self.word, x)
        checks.dimensions(self.word, x, 1, "(..., n)")
        width = checks.size(self.word, x, self.dim)
        if width != len(self.sizes):
            raise ValueError(
                f"{self.word}: x must have {len(self.sizes)} numbers along dimension {self.dim}, one a level, got "
                f"shape {tuple(x.shape)}; a linear layer before it gives them"
            )
        rows = single(x).movedim(self.dim, -1)
        if mask is not None:
            self._check_mask(rows, mask)
            rows = rows.masked_fill(~mask.unsqueeze(-1), 0.0)
        if not readable(x):  # a row that cannot be refused is NaN, and no other feels it
            finite = rows.detach().isfinite().all(-1)
            return rows, finite if mask is None else finite & mask
        if not rows.detach().sum().isfinite():  # of all, in less time than each of them takes
            self._refuse(rows.detach().isfinite().all(-1))
        return rows, mask

    def _refuse(self, finite: Tensor) -> None:
        if not finite.all():  # else their sum alone is too large
            raise ValueError(
                f"{self.word}: x must be finite, got {int((~finite).sum())} of {finite.numel()} rows with NaN or "
                "infinity; look for what made them, or leave them out by mask"
            )

    def _check_mask(self, rows: Tensor, mask: Tensor) -> None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != rows.shape[:-1]:
            raise ValueError(
                f"{self.word}: mask must be a bool tensor of shape {tuple(rows.shape[:-1])}, True where a row counts, "
                f"got {_check.kind_of(mask)}; x.isfinite().all({self.dim}) is one"
            )
        checks.same_device(self.word, rows, mask, "mask")

    def _value(self, digits: Tensor) -> Tensor:
        centers = self._numbers(self.centers, digits)
        return (digits - centers) / centers

    def _places(self, like: Tensor) -> Tensor:
        return torch.tensor([1, *accumulate(self.sizes[:-1], mul)], device=like.device)

    def _numbers(self, numbers: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)

    def _why_no_gradient(self) -> str:
        return (
            f"{self.word}: in eval() no gradient passes through this layer, so the layers before it get zeros; "
            "differentiable_in_eval=True lends one there too, .train() as in training"
        )
