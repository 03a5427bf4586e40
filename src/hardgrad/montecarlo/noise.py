"""Uniform noise that is fine near zero, and a draw made of it: rare outcomes are as rare as their probability."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad._torch_state import compiling
from hardgrad.hard.uniforms import uniform as uniform


def fine_uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None, shared: int) -> Tensor:
    r"""Return uniforms in (0, 1) whose small numbers have all the digits that their dtype can hold.

    .. math:: u = \frac{k + v}{2^{24}}, \qquad k \in \{0, \dots, 2^{24} - 1\}, \quad v \in [0, 1)

    What torch draws, the cell k alone, is below 1e-9 as often as it is below 6e-8. The place v inside the cell is drawn
    once for the leading dimensions, such as those of rows: a draw apiece would cost as much as the cells do. So each
    number is uniform, and a row's numbers are independent of one another; of two rows the joint law is off by 2^-50
    at most, which is less than what adding up in double precision loses. In double precision 2^53 is in place of 2^24.

    Args:
        shape: of the result.
        like: whose dtype and device the numbers have, single precision at least.
        generator: source of randomness.
        shared: how many leading dimensions share their places.
    """
    cells = 2 / torch.finfo(like.dtype).eps
    cell = uniform(shape, like, generator)
    if compiling() or like.device.type != "cpu":  # there it may have more digits than the cell's
        cell = (cell * cells).floor() / cells
    place = uniform((1,) * shared + tuple(shape[shared:]), like, generator)
    # Zero, of probability 2^-48, has no logarithm. Near 1 the cells are as fine as the dtype: the last one would round.
    return cell.add_(place, alpha=1 / cells).clamp(0.5 / cells**2, 1 - 1 / cells)


def rarely(distance: Tensor) -> Tensor:
    """Return -1/2 where the rarer outcome falls, which is where ``distance`` is negative, and 1/2 elsewhere.

    Signs, since comparisons and what turns their results into numbers take five times as long on a CPU (torch 2.13).
    """
    return torch.copysign(distance.new_full((), 0.5), distance)


def gumbel_of(u: Tensor) -> Tensor:
    """Return the standard Gumbel variate of a uniform in (0, 1): large where that is small, where its digits are."""
    return -(-torch.log1p(-u)).log()
