"""SoftSort: row i is a softmax over the distances to the i-th smallest value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hardgrad.soft.by_row import ByRow


@dataclass(frozen=True)
class SoftSort(ByRow):
    r"""Rows of a softmax of distances to the sorted values; every row sums to 1, the columns need not.

    .. math:: P_{ij} \propto \exp(-|x_{(i)} - x_j| / t)

    Time and memory grow with n^2. An entry of a top-k mask may be a little above 1, since columns are not normalized;
    the mask sums to k all the same. There are kinks where two values are equal.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([3.0, 1.0, 2.0])
        >>> hg.soft.sort(x, 0.5, method="softsort", relative=False).shape
        torch.Size([3])

    Source: Prillo and Eisenschlos 2020 (arXiv 2006.16038), equation 4 with the absolute difference; ascending here.
    """

    name: ClassVar[str] = "softsort"

    def rows(self, x: Tensor, start: int, stop: int, t: Tensor) -> Tensor:
        """Return rows of the row-stochastic matrix."""
        ordered, order = x.sort(-1)
        apart = ordered[..., start:stop].unsqueeze(-1) - x.unsqueeze(-2)
        # Not abs: among equals the place tells the side, so that the slopes are those of one order of them.
        rows = torch.arange(start, stop, device=x.device).unsqueeze(-1)
        distance = apart * (rows - order.argsort(-1).unsqueeze(-2)).sign()
        return (-distance / t.unsqueeze(-1)).softmax(-1)
