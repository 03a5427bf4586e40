"""NeuralSort: row i is a softmax whose largest entry is the i-th smallest value, without sorting anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hardgrad.soft.by_row import ByRow


@dataclass(frozen=True)
class NeuralSort(ByRow):
    r"""Rows of a softmax of what the sum of the largest i + 1 values is made of; rows sum to 1, columns need not.

    .. math:: P_{ij} \propto \exp\Big(\big((2i - n + 1)\,x_j - \sum_k |x_j - x_k|\big) / t\Big), \qquad i = 0 \dots n-1

    The largest entry of row i stands at the i-th smallest value, for every temperature. Time and memory grow with n^2.
    An entry of a top-k mask may be a little above 1; the mask sums to k all the same. There are kinks where two values
    are equal.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([3.0, 1.0, 2.0])
        >>> hg.soft.permutation(x, 0.5, method="neuralsort", relative=False).argmax(-1).tolist()
        [1, 2, 0]

    Source: Grover, Wang, Zweig and Ermon 2019 (arXiv 1903.08850), equation 5; ascending here.
    """

    name: ClassVar[str] = "neuralsort"

    def rows(self, x: Tensor, start: int, stop: int, t: Tensor) -> Tensor:
        """Return rows of the row-stochastic matrix."""
        n = x.shape[-1]
        # Around the middle of the row, since i x_j grows with an offset that the softmax only takes out again.
        x = x - x.detach().mean(-1, keepdim=True)
        spread = (x.unsqueeze(-1) - x.unsqueeze(-2)).abs().sum(-2)
        slope = torch.arange(2 * start + 1 - n, 2 * stop + 1 - n, 2, dtype=x.dtype, device=x.device)
        score = slope.unsqueeze(-1) * x.unsqueeze(-2) - spread.unsqueeze(-2)
        return (score / t.unsqueeze(-1)).softmax(-1)
