"""The products of one linear layer of every visited branch: one by one in place, or together on copied weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, mm
from torch.nn import functional as F

from hardgrad.switch.branches.bank.layouts import Layout

# On a processor a weight of more numbers than this takes longer to copy than a product of its own takes to start, but
# where all copies together are so few numbers that they stay in a core's cache.
COPIED = 6_000
IN_CACHE = 150_000

# With the signatures that they have, and torch's stubs (2.13) do not know of.
_linear = cast(Callable[..., Tensor], F.linear)
_unbound = cast(Callable[[Tensor], Sequence[Tensor]], torch.unbind_copy)


class Products:
    """One product for each range, with its weight where it lies.

    Args:
        layout: the rows; everything else is in the order of its ranges.
        weights: (out, in) each.
        biases: (out,) each, or none at all.
    """

    def __init__(self, layout: Layout, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        self.layout, self.weights, self.biases = layout, weights, biases
        self.out, self.width = weights[0].shape

    def copied(self) -> Tensor | None:
        """Return the copy of the weights that the other methods take, if they take one."""
        return None

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return x W^T + b, (slots, out), of x (slots, in)."""
        y = x.new_empty(x.shape[0], self.out)
        biases: Sequence[Tensor | None] = self.biases or [None] * len(self.weights)
        parts = self.layout.by_range(x), self.weights, biases, self.layout.by_range(y)
        for mine, its_weight, bias, out in zip(*parts, strict=True):
            _linear(mine, its_weight, bias, out=out)
        return y

    def to_input(self, grad: Tensor, weight: Tensor | None) -> Tensor:
        """Return the gradient of x, (slots, in), of that of y, (slots, out)."""
        dx = grad.new_empty(grad.shape[0], self.width)
        parts = self.layout.by_range(grad), self.weights, self.layout.by_range(dx)
        for mine, its_weight, out in zip(*parts, strict=True):
            mm(mine, its_weight, out=out)
        return dx

    def to_weights(self, grad: Tensor, x: Tensor) -> Sequence[Tensor]:
        """Return each range's gradient. A tensor of its own: a user who keeps or saves one has that one alone."""
        return list(map(mm, grad.T.split(self.layout.spans, 1), self.layout.by_range(x)))

    def to_biases(self, grad: Tensor) -> Sequence[Tensor]:
        """Return each range's gradient, a tensor of its own."""
        grads: list[Tensor] = []
        for mine in self.layout.by_chunk(grad):
            grads += _unbound(mine.sum(1))
        return grads


class Together(Products):
    """One batched product for each chunk, with copies of the weights."""

    def copied(self) -> Tensor:
        return torch.stack(list(self.weights))

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        assert weight is not None
        bias = torch.stack(list(self.biases)).unsqueeze(1) if self.biases else None
        y = x.new_empty(x.shape[0], self.out)
        parts = self.layout.chunks, self.layout.by_chunk(x), self.layout.by_chunk(y)
        for chunk, mine, out in zip(*parts, strict=True):
            if bias is None:
                torch.bmm(mine, weight[chunk.ranges].mT, out=out)
            else:
                torch.baddbmm(bias[chunk.ranges], mine, weight[chunk.ranges].mT, out=out)
        return y

    def to_input(self, grad: Tensor, weight: Tensor | None) -> Tensor:
        assert weight is not None
        dx = grad.new_empty(grad.shape[0], self.width)
        parts = self.layout.chunks, self.layout.by_chunk(grad), self.layout.by_chunk(dx)
        for chunk, mine, out in zip(*parts, strict=True):
            torch.bmm(mine, weight[chunk.ranges], out=out)
        return dx

    def to_weights(self, grad: Tensor, x: Tensor) -> Sequence[Tensor]:
        grads: list[Tensor] = []
        for mine, its_x in zip(self.layout.by_chunk(grad), self.layout.by_chunk(x), strict=True):
            grads += _unbound(torch.bmm(mine.mT, its_x))
        return grads


def products(layout: Layout, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Products:
    """Return the faster of the two ways."""
    numbers = weights[0].numel()
    alone = weights[0].device.type == "cpu" and numbers > COPIED and numbers * len(weights) > IN_CACHE
    return (Products if alone else Together)(layout, weights, biases)
