"""A sorting network whose comparators mix their two values: any size, every matrix doubly stochastic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.soft.method import Method


@dataclass(frozen=True)
class Network(Method):
    r"""Layers of comparators, each of which swaps two values by a share that a Cauchy distribution gives.

    .. math:: \min{}_t(a, b) = a\,F((b - a)/t) + b\,F((a - b)/t), \qquad F(z) = \tfrac12 + \tfrac1\pi \arctan z

    With the heavy tails of F no output falls when an input rises; with a logistic one it may. The permutation matrix is
    doubly stochastic. Wires differ: results depend a little on the order in which x comes, equal values need not have
    equal ranks, and the sorted values may stand a little out of order.

    Args:
        kind: ``"odd-even"`` compares neighbors, in n layers; ``"bitonic"`` compares far ones too, in about
            log2(n)^2 / 2 layers, for any n: comparators with a wire that is not there are left out.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([3.0, 1.0, 2.0])
        >>> hg.soft.permutation(x, 0.1, method="network", relative=False).sum(-2).round(decimals=4).tolist()
        [1.0, 1.0, 1.0]

    Source: Petersen, Borgelt, Kuehne and Deussen 2022 (arXiv 2203.09630), equations 1 and 10; ascending here.
    """

    kind: str = "bitonic"

    name: ClassVar[str] = "network"

    def __post_init__(self) -> None:
        _check.one_of("Network", "kind", self.kind, ("odd-even", "bitonic"))

    def sort(self, x: Tensor, t: Tensor) -> Tensor:
        """Return what leaves the network."""
        return self._run(x, t)[0]

    def permutation(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the product of all layers' matrices."""
        matrix = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, x.shape[-1])
        for partner, share in self._run(x, t)[1]:
            matrix = torch.lerp(matrix, matrix.index_select(-2, partner), share.unsqueeze(-1))
        return matrix

    def rank(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the positions 0 .. n - 1, sent back through the network."""
        return self._back(x, t, torch.arange(x.shape[-1], dtype=x.dtype, device=x.device))

    def mask(self, x: Tensor, k: int, t: Tensor) -> Tensor:
        """Return a 1 at each of the last k positions, sent back through the network."""
        n = x.shape[-1]
        return self._back(x, t, (torch.arange(n, device=x.device) >= n - k).to(x.dtype))

    def compare(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        """Return what one comparator keeps less what it swaps."""
        return 2 / pi * ((b - a) / t).atan()

    def _back(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Multiply y by the transposed matrix, which costs n numbers a layer: each layer's own is symmetric."""
        y = y.expand_as(x)
        for partner, share in reversed(self._run(x, t)[1]):
            y = torch.lerp(y, y.index_select(-1, partner), share)
        return y

    def _run(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the sorted values, and for each layer the wire that each one meets and the share that is swapped."""
        wire = torch.arange(x.shape[-1], device=x.device)
        layers = _odd_even(wire) if self.kind == "odd-even" else _bitonic(wire)
        steps = []
        for partner in layers:
            other = x.index_select(-1, partner)
            # By how much the lower wire holds less than the upper; a wire that meets itself has 0, and stays.
            rise = (other - x) * (partner - wire).sign()
            share = 0.5 - (rise / t).atan() / pi
            x = torch.lerp(x, other, share)
            steps.append((partner, share))
        return x, steps


def _odd_even(wire: Tensor) -> Iterator[Tensor]:
    """Neighbors, from the first wire and from the second in turns."""
    for layer in range(wire.shape[0]):
        shift = layer % 2
        yield _there(((wire + shift) ^ 1) - shift, wire)


def _bitonic(wire: Tensor) -> Iterator[Tensor]:
    """Blocks of 2, 4, 8 ...: first each wire with its mirror image, then with those half, a quarter ... as far away.

    So the smaller value goes to the lower wire in every comparator, and wires from n on, as if they held infinity,
    would never change: they can be left out.
    """
    size = 2
    while size < 2 * wire.shape[0]:
        yield _there(wire ^ (size - 1), wire)
        step = size // 4
        while step:
            yield _there(wire ^ step, wire)
            step //= 2
        size *= 2


def _there(partner: Tensor, wire: Tensor) -> Tensor:
    """The partner, or the wire itself where there is none."""
    return torch.where((partner >= 0) & (partner < wire.shape[0]), partner, wire)
