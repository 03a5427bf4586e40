"""Finite scalar quantization: each number bounded and rounded to one of a few levels, no codebook to collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.codebook.computed import ComputedCodes

# The paper's bound is short of the outermost level by a thousandth of half the range: beyond 1000 levels the ends would
# never be reached.
_EPS, _MOST = 1e-3, 1000


class Levels(ComputedCodes):
    """The layer that ``levels`` returns; its arguments are explained there."""

    def _encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        half = [(size - 1) * (1 - _EPS) / 2 for size in self.sizes]
        offset = [0.0 if size % 2 else 0.5 for size in self.sizes]
        shift = [math.tan(o / h) for o, h in zip(offset, half, strict=True)]
        half_width, half_length, below, before = (
            self._numbers(tuple(each), rows) for each in (self.centers, half, offset, shift)
        )
        bound = torch.tanh(rows + before) * half_length - below
        return bound.detach().round() + half_width, bound / half_width

    def extra_repr(self) -> str:
        return f"{list(self.sizes)}, dim={self.dim}"


def levels(levels: Sequence[int], *, dim: int = -1, differentiable_in_eval: bool = False) -> Levels:
    r"""Return a layer of finite scalar quantization: every number of a row goes to one of a few levels in [-1, 1].

    .. math:: b_i = h_i \tanh(x_i + s_i) - o_i, \qquad y_i = \frac{\text{round}(b_i)}{\lfloor L_i / 2 \rfloor}, \qquad
        \frac{\partial y}{\partial x} = \frac{\partial\, b / \lfloor L / 2 \rfloor}{\partial x}

    with :math:`h_i = (L_i - 1)(1 - 10^{-3}) / 2`, and for an even number of levels :math:`o_i = 1/2` and
    :math:`s_i = \tan(o_i / h_i)`, else 0. So an odd number of levels lies evenly around 0, an even one has -1 and not
    1: 4 levels are -1, -1/2, 0 and 1/2. The codes are all combinations; nothing is learned, so nothing can be lost.

    The layer is called as ``y, index = layer(x, mask=None)``, and ``layer.codes(index)`` gives ``y`` again. In
    ``eval()`` no gradient passes, and a backward that asks for one gets zeros and a warning.

    Args:
        levels: how many levels each of the n numbers of a row has, each from 2 to 1000; the paper takes [8, 5, 5, 5]
            for about 2 ** 10 codes. Their product must fit in 63 bits.
        dim: the dimension of x that holds the n numbers.
        differentiable_in_eval: lend the gradient in ``eval()`` too.

    Returns:
        An ``nn.Module``: of x (..., n) it gives y of x's shape and dtype, float32's value rounded once in half, and
        index (...), long, in mixed base with the first number fastest. Where ``mask``, a bool tensor of index's shape,
        is False, y is 0 and index -1, no gradient passes, and x may be NaN.

    Raises:
        ValueError: for levels out of range or none of them; from the layer for a wrong width or mask, and for rows that
            are not finite. Where nothing can be read back (a graph, a GPU) such a row is NaN, with index -1.
        TypeError: if a level is not a whole number; from the layer for an x that is not floating point.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.levels([3, 5])
        >>> y, index = layer(torch.tensor([[-2.0, 0.4], [0.1, 5.0]], requires_grad=True))
        >>> y.tolist(), index.tolist()
        ([[-1.0, 0.5], [0.0, 1.0]], [9, 13])
        >>> torch.equal(layer.codes(index), y)
        True

    Source: Mentzer et al. 2023 (arXiv 2309.15505), section 3 and the program of appendix A.1.
    """
    sizes = _sizes(levels)
    return Levels(
        sizes, tuple(float(size // 2) for size in sizes), dim=dim, differentiable_in_eval=differentiable_in_eval
    )


def _sizes(levels: Sequence[int]) -> tuple[int, ...]:
    if isinstance(levels, str | bytes) or not hasattr(levels, "__iter__"):
        raise TypeError(
            f"levels: levels must be a list of whole numbers, got {_check.kind_of(levels)}; [8, 5, 5, 5] say"
        )
    sizes = tuple(
        _check.whole("levels", "levels", size, 2, _MOST, cure="a number of a row has so many values") for size in levels
    )
    if not sizes:
        raise ValueError("levels: levels must have at least one entry, got none; [8, 5, 5, 5] say")
    if math.prod(sizes) >= 2**63:
        raise ValueError(
            f"levels: levels must have a product below 2 ** 63, which an index can hold, got {math.prod(sizes):.2g}; "
            "split the row between several layers"
        )
    return sizes
