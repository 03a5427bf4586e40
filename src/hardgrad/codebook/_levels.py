"""Finite scalar quantization: each number bounded and rounded to one of a few levels, no codebook to collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.codebook.computed import ComputedCodes

# The paper's bound stops a thousandth of half the range before the outermost level: of more than 1000 levels the ends
# would never be reached.
_SHORT, _MOST = 1e-3, 1000


def levels(levels: Sequence[int], *, dim: int = -1, differentiable_in_eval: bool = False) -> ComputedCodes:
    r"""Return a layer of finite scalar quantization: every number of a row goes to one of a few levels in [-1, 1].

    .. math:: b_i = h_i \tanh(x_i + s_i) - o_i, \qquad y_i = \frac{\text{round}(b_i)}{\lfloor L_i / 2 \rfloor}, \qquad
        \frac{\partial y}{\partial x} = \frac{\partial}{\partial x} \frac{b}{\lfloor L / 2 \rfloor}

    with :math:`h_i = (L_i - 1)(1 - 10^{-3}) / 2`, and for an even number of levels :math:`o_i = 1/2` and
    :math:`s_i = \tan(o_i / h_i)`, else 0: 5 levels are -1, -1/2, 0, 1/2 and 1, and 4 are the first four of them.
    Nothing is learned, so nothing can be lost.

    Args:
        levels: how many each of the n numbers of a row has, from 2 to 1000; their product is below 2 ** 63. The paper's
            [8, 5, 5, 5] does for a codebook of 1024.
        dim: where x has its n numbers.
        differentiable_in_eval: lend the gradient in ``eval()`` too.

    Returns:
        A layer, ``y, index = layer(x, mask=None)``, of x (..., n): y of x's shape and dtype, index (...) in mixed base,
        the first number fastest. ``layer.codes(index)`` is y. mask, a bool (...), is True for real rows; the others
        give y = 0 and index -1.

    Raises:
        ValueError: for levels out of range or none; from the layer for another width, and for a row that is not finite.
            In graphs and on a GPU such a row is NaN, with index -1.
        TypeError: if a level is not a whole number.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.levels([3, 5])
        >>> y, index = layer(torch.tensor([[-2.0, 0.4], [0.1, 5.0]]))
        >>> y.tolist(), index.tolist()
        ([[-1.0, 0.5], [0.0, 1.0]], [9, 13])

    Source: Mentzer et al. 2023 (arXiv 2309.15505), section 3 and the program of appendix A.1.
    """
    # A tensor of one number has an __iter__, which raises.
    if isinstance(levels, str | bytes) or not hasattr(levels, "__iter__") or getattr(levels, "ndim", 1) == 0:
        raise TypeError(f"levels: levels must be a list of whole numbers, got {_check.kind_of(levels)}")
    sizes = tuple(_check.whole("levels", "levels", size, 2, _MOST, cure="each is of one number") for size in levels)
    if not sizes or math.prod(sizes) >= 2**63:
        raise ValueError(
            f"levels: levels must be at least one, of a product below 2 ** 63, got {len(sizes)} of product "
            f"{math.prod(sizes):.2g}; several layers share a longer row"
        )
    centers = tuple(float(size // 2) for size in sizes)
    return ComputedCodes("levels", sizes, centers, _bounded, dim, differentiable_in_eval)


def _bounded(sizes: tuple[int, ...], rows: Tensor) -> tuple[Tensor, Tensor]:
    half = [(size - 1) * (1 - _SHORT) / 2 for size in sizes]
    below = [0.0 if size % 2 else 0.5 for size in sizes]
    shift = [math.tan(o / h) for o, h in zip(below, half, strict=True)]
    lengths, offsets, shifts, centers = rows.new_tensor([half, below, shift, [size // 2 for size in sizes]])
    bound = torch.tanh(rows + shifts) * lengths - offsets
    return bound.detach().round() + centers, bound / centers
