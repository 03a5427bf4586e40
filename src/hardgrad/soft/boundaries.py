r"""Where a row's Laplace sum reaches a whole number: the boundaries between the values of a soft sort.

.. math:: \sum_j F(b_k - z_j) = k

Between two neighbors of a sorted row the sum is :math:`m - \tfrac12 A e^{-b} + \tfrac12 B e^{b}`, m the number of
values below, A the sum of :math:`e^{z_j}` over these and B of :math:`e^{-z_j}` over the others: a quadratic in :math:`e^b`.
It is solved in logarithms, from the two neighbors, so that no distance is too large.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad.soft.kernel import kernel_sum, plain, scans

_NO_SUM = -200.0  # the logarithm of a sum of nothing: too small to count, and finite


def boundary(z: Tensor, k: int) -> Tensor:
    """Return the one boundary below which there is a weight of k, (..., 1); z of shape (..., n) in any order."""
    if plain():
        return _boundary(z, k)
    return cast(Tensor, cast(Any, _Boundary).apply(z, k))


def boundaries(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all n - 1 boundaries of ascending z, how many z are below each, and how many of them below each z."""
    if plain():
        return _boundaries(z)
    return cast(tuple[Tensor, Tensor, Tensor], cast(Any, _Boundaries).apply(z))


def _boundary(z: Tensor, k: int) -> Tensor:
    s = z.sort(-1).values
    left, right = scans(torch.ones_like(s), s)
    below = (_reached(s, left, right) <= k).sum(-1, keepdim=True)
    return _solved(s, left, right, below, torch.full_like(below, k))


def _boundaries(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = z.shape[-1]
    left, right = scans(torch.ones_like(z), z)
    reached = _reached(z, left, right).detach()
    first = reached.ceil().long()  # of the boundaries, which is the first above a value, from 1
    ends = torch.zeros_like(torch.cat([first, first[..., :1]], -1))
    up = ends.scatter_add(-1, first, torch.ones_like(first)).cumsum(-1)[..., 1:n]
    b = _solved(z, left, right, up, torch.arange(1, n, device=z.device))
    return b, up, reached.floor().long().clamp(max=n - 1)


def _reached(s: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The sum at each value itself."""
    return torch.arange(s.shape[-1], dtype=s.dtype, device=s.device) + 0.5 + 0.5 * (right - left)


def _solved(s: Tensor, left: Tensor, right: Tensor, below: Tensor, k: Tensor) -> Tensor:
    n = s.shape[-1]
    last, first = (below - 1).clamp(min=0), below.clamp(max=n - 1)  # of those below and of those above
    low, high = s.gather(-1, last), s.gather(-1, first)
    a = torch.where(below == 0, _NO_SUM, left.gather(-1, last).log())
    b = torch.where(below == n, _NO_SUM, right.gather(-1, first).log())
    more = (k - below).to(s.dtype)
    product = a + b - (high - low)
    root = torch.sqrt(torch.where(more == 0, 1, more * more) + product.exp())
    return 0.5 * (low + high + a - b) + more.sign() * (torch.log(more.abs() + root) - 0.5 * product)


class _Boundary(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, k: int) -> Tensor:
        return _boundary(z, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, b = ctx.saved_tensors
        slope = torch.exp(-(z - b).abs())
        return _share(grad, slope.sum(-1, keepdim=True)) * slope, None


class _Boundaries(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _boundaries(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, b, up, down = ctx.saved_tensors
        slope = kernel_sum(torch.ones_like(z), z, b, "even", up, down)
        return kernel_sum(_share(grad, slope), b, z, "even", down, up)


def _share(grad: Tensor, slope: Tensor) -> Tensor:
    # Where no value is near enough for a slope, nothing depends on the boundary either, and 0 / 0 stands for 0.
    return grad / slope.clamp_min(torch.finfo(slope.dtype).tiny)
