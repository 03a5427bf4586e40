"""The default method: soft steps of the Laplace distribution, a closed form in n log n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from hardgrad.hard.precision import double
from hardgrad.soft.boundaries import boundaries, boundary
from hardgrad.soft.kernel import kernel_sum, plain, scans
from hardgrad.soft.method import Method


@dataclass(frozen=True)
class Laplace(Method):
    r"""Boundaries :math:`b_k` where the soft number of values below is k, and a value's weights between them.

    .. math:: \sum_j F\Big(\frac{b_k - x_j}{t}\Big) = k, \qquad
        P_{kj} = F\Big(\frac{b_{k+1} - x_j}{t}\Big) - F\Big(\frac{b_k - x_j}{t}\Big), \qquad
        \text{rank}_j = \sum_{i \ne j} F\Big(\frac{x_j - x_i}{t}\Big)

    with F the Laplace distribution's function. P is doubly stochastic by construction; the mask of the k largest is
    :math:`1 - F((b_{n-k} - x) / t)`. All but P itself take memory linear in n. Computed in double precision, since
    distances of 10^4 temperatures and more leave single no digits.

    Source: derived here; the idea of solving for one boundary is Struski et al. 2025 (LapSum, arXiv 2503.06242).
    """

    name: ClassVar[str] = "laplace"

    def permutation(self, x: Tensor, t: Tensor) -> Tensor:
        z = double(x) / double(t)
        b, _, _ = boundaries(z.sort(-1).values)
        below = step(b.unsqueeze(-1) - z.unsqueeze(-2))
        none = torch.zeros_like(z).unsqueeze(-2)
        return torch.cat([none, below, none + 1], -2).diff(dim=-2).to(x.dtype)

    def sort(self, x: Tensor, t: Tensor) -> Tensor:
        values = double(x.sort(-1).values)
        z = values / double(t)
        b, up, down = boundaries(z)
        total = values.sum(-1, keepdim=True)
        sums = torch.cat([torch.zeros_like(total), kernel_sum(values, z, b, "step", up, down), total], -1)
        return sums.diff(dim=-1).to(x.dtype)

    def rank(self, x: Tensor, t: Tensor) -> Tensor:
        values, order = x.sort(-1)
        z = double(values) / double(t)
        ranks = _ranks(z)[0] if plain() else cast(Any, _Ranks).apply(z)[0]
        return torch.zeros_like(x).scatter(-1, order, ranks.to(x.dtype))

    def mask(self, x: Tensor, k: int, t: Tensor) -> Tensor:
        z = double(x) / double(t)
        return step(z - boundary(z, x.shape[-1] - k)).to(x.dtype)


def step(u: Tensor) -> Tensor:
    """Return F(u)."""
    return _step(u) if plain() else cast(Tensor, cast(Any, _Step).apply(u))


def _step(u: Tensor) -> Tensor:
    zero = torch.zeros((), dtype=u.dtype, device=u.device)
    # The minimum's derivative at a tie is a half in each, so the slope is right at u = 0 too.
    return 0.5 * (torch.exp(torch.minimum(u, zero)) + (1 - torch.exp(torch.minimum(-u, zero))))


class _Step(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor) -> Tensor:
        near = 0.5 * torch.exp(-u.abs())
        return torch.where(u < 0, near, 1 - near)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 0.5 * torch.exp(-ctx.saved_tensors[0].abs()) * grad


def _ranks(z: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks of ascending z, and the slopes of the sum at each."""
    left, right = scans(torch.ones_like(z), z)
    return torch.arange(z.shape[-1], dtype=z.dtype, device=z.device) + 0.5 * (right - left), left + right - 1


class _Ranks(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> tuple[Tensor, Tensor]:
        return _ranks(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated itself
            slope = kernel_sum(torch.ones_like(z), z, z, "even")
        return 0.5 * (grad * slope - kernel_sum(grad, z, z, "even"))
