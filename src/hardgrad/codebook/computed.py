"""Codes that are computed, not stored: each number of a row goes to one of a few levels, and the levels make an index.

The index counts in mixed base, the first number fastest: digit i counts as many as the levels before it have codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from hardgrad._graft import graft
from hardgrad.codebook.rows import CodeLayer, carrying

Encode = Callable[[tuple[int, ...], Tensor], tuple[Tensor, Tensor]]
Terms = Callable[[Tensor, Tensor, Tensor | None], list[Tensor]]


class ComputedCodes(CodeLayer):
    """What ``levels`` and ``lookup_free`` return.

    Args:
        word: what users called.
        sizes: how many levels each of the n numbers of a row has.
        centers: a digit, from 0 to its size, has the value ``(digit - center) / center``.
        encode: from sizes and rows (..., n) to their digits, and to what the gradient flows through.
        dim, differentiable_in_eval: as of those.
        terms: from rows, their values, and which are kept (None: all) to what is added to the loss.
    """

    def __init__(
        self,
        word: str,
        sizes: tuple[int, ...],
        centers: tuple[float, ...],
        encode: Encode,
        dim: int,
        differentiable_in_eval: bool,
        terms: Terms | None = None,
    ) -> None:
        self.word = word
        super().__init__(1, len(sizes), dim, differentiable_in_eval)
        self.sizes, self.centers, self.encode, self.terms = sizes, centers, encode, terms

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, keep = self._rows(x, mask)
        lends = self._differentiable(x)
        digits, path = self.encode(self.sizes, rows if lends else rows.detach())
        values = self._values(digits)
        y, index = self._value(x, rows, values, (digits.long() * self._places(digits)).sum(-1), keep)
        if not lends:
            return self._alone(x, y, index)
        terms = self.terms(rows, values, keep) if self.training and self.terms else []
        return graft(y, carrying(self, self._laid_out(path), terms)), index

    def codes(self, index: Tensor) -> Tensor:
        """Return the values of an index (...), in torch's default dtype and laid out as y is; zeros for -1.

        Raises:
            ValueError: for an index out of range; where it cannot be read (a graph, a GPU) its values are NaN.
            TypeError: if it holds no whole numbers.
        """
        count = math.prod(self.sizes)
        self._check_index(index, count)
        index = index.long().unsqueeze(-1)
        digits = torch.div(index, self._places(index), rounding_mode="floor") % torch.tensor(self.sizes).to(index)
        values = self._values(digits.to(torch.get_default_dtype()))
        values = values.masked_fill(index == -1, 0.0).masked_fill((index < -1) | (index >= count), torch.nan)
        return values.movedim(-1, self.dim)

    def _values(self, digits: Tensor) -> Tensor:
        centers = digits.new_tensor(self.centers)
        return (digits - centers) / centers

    def _places(self, like: Tensor) -> Tensor:
        return torch.tensor([1, *accumulate(self.sizes[:-1], mul)], device=like.device)

    def _get_name(self) -> str:
        return self.word

    def extra_repr(self) -> str:
        return f"width={self.width}, codes={math.prod(self.sizes)}, dim={self.dim}"
