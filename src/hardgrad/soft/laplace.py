"""The default method: soft steps of the Laplace distribution, a closed form in n log n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from hardgrad._torch_state import in_forward_mode
from hardgrad.hard.precision import double, reached
from hardgrad.soft.boundaries import boundaries, boundary
from hardgrad.soft.method import Method
from hardgrad.soft.scans import apply, at, near, scans, seen


@dataclass(frozen=True)
class Laplace(Method):
    r"""Boundaries :math:`b_k` where the soft number of values below is k, and a value's weights between them.

    .. math:: \sum_j F\Big(\frac{b_k - x_j}{t}\Big) = k, \qquad
        P_{kj} = F\Big(\frac{b_{k+1} - x_j}{t}\Big) - F\Big(\frac{b_k - x_j}{t}\Big), \qquad
        \text{rank}_j = \sum_{i \ne j} F\Big(\frac{x_j - x_i}{t}\Big)

    with F the Laplace distribution's function. P is doubly stochastic by construction; the mask of the k largest is
    :math:`1 - F((b_{n-k} - x) / t)`. All but P itself take memory linear in n. Computed in double precision, since
    distances of 10^4 temperatures and more leave single no digits.

    Source: derived here; the idea of one boundary for the k largest is Struski et al. 2025 (arXiv 2503.06242).
    """

    name: ClassVar[str] = "laplace"

    def permutation(self, x: Tensor, t: Tensor) -> Tensor:
        z = double(x) / double(t)
        s = z.sort(-1).values
        b, _, _ = boundaries(s, scans(torch.ones_like(s), s), 1, z.shape[-1] - 1)
        below = _step(b.unsqueeze(-1) - z.unsqueeze(-2))
        none = torch.zeros_like(z).unsqueeze(-2)
        return torch.cat([none, below, none + 1], -2).diff(dim=-2).to(x.dtype)

    def sort(self, x: Tensor, t: Tensor) -> Tensor:
        return self.span(x, 0, x.shape[-1], t)

    def span(self, x: Tensor, start: int, stop: int, t: Tensor) -> Tensor:
        n = x.shape[-1]
        z = double(x.sort(-1).values) / double(t)
        zero, total = torch.zeros_like(z[..., :1]), z.sum(-1, keepdim=True)
        first, last = max(start, 1), min(stop, n - 1)
        parts = [apply(_Sums, z, first, last)[0]] if first <= last else []
        parts = [zero] * (start == 0) + parts + [total] * (stop == n)
        return (torch.cat(parts, -1).diff(dim=-1) * double(t)).to(x.dtype)

    def rank(self, x: Tensor, t: Tensor) -> Tensor:
        values, order = x.sort(-1)
        ranks = apply(_Ranks, double(values) / double(t))[0]
        return torch.zeros_like(x).scatter(-1, order, ranks.to(x.dtype))

    def mask(self, x: Tensor, k: int, t: Tensor) -> Tensor:
        return cast(Tensor, apply(_Mask, double(x) / double(t), x.shape[-1] - k)[0].to(x.dtype))

    def compare(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return 2 * _step((b - a) / t) - 1


def _step(u: Tensor) -> Tensor:
    """F(u)."""
    zero = torch.zeros((), dtype=u.dtype, device=u.device)
    # The minimum's derivative at a tie is a half in each, so the slope is right at u = 0 too.
    return 0.5 * (near(-torch.minimum(u, zero)) + (1 - near(-torch.minimum(-u, zero))))


class _Mask(torch.autograd.Function):
    """What is above the boundary with k values below, and the slope of each value's own step."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        u = z - boundary(z, k)
        slope = 0.5 * near(u.abs())
        if torch.is_grad_enabled() or in_forward_mode():
            return _step(u), slope
        return torch.addcmul(slope, reached(u, 0.0), 1 - 2 * slope), slope  # half the time of a choice

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])
        ctx.k = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Any) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient may be differentiated, so all of it has to follow from z
            _, slope = _Mask.forward(z, ctx.k)
        through = grad * slope
        return through - slope * (through.sum(-1, keepdim=True) / slope.sum(-1, keepdim=True)), None


class _Ranks(torch.autograd.Function):
    """Ranks of ascending z, and the sum of all steps' slopes at each, twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> tuple[Tensor, Tensor]:
        left, right = scans(torch.ones_like(z), z)
        return torch.arange(z.shape[-1], dtype=z.dtype, device=z.device) + 0.5 * (right - left), left + right - 1

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            return 0.5 * (grad * _all_sides(torch.ones_like(z), z) - _all_sides(grad, z))
        left, right = scans(grad, z)
        to_z: Tensor = 0.5 * (grad * slope - (left + right - grad))
        return to_z


def _all_sides(v: Tensor, z: Tensor) -> Tensor:
    """Sums over both sides of each z and itself; what ties with it moves with it, so that the slope of it is even."""
    fixed = z.detach().contiguous()
    less, most = (torch.searchsorted(fixed, fixed, right=right) for right in (False, True))
    sums, total = scans(v, z), v.cumsum(-1)
    below, above = seen(sums, z, z, less)[0], seen(sums, z, z, most)[1]
    return below + above + at(total, most - 1) - at(total, less - 1, 0.0)


class _Sums(torch.autograd.Function):
    """Of ascending z, what is below each of some boundaries, and the boundaries with what their slopes take."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, first: int, last: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        left, right = scans(torch.stack([torch.ones_like(z), z]), z)
        b, below, back = boundaries(z, (left[0], right[0]), first, last)
        low, high = seen((left, right), z, b, below)
        sums = at(z.cumsum(-1), below - 1, 0.0) + 0.5 * (high[1] - low[1])
        slopes = low + high
        return sums, b, slopes[1] / slopes[0], back

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])
        ctx.range = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Any) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, b, mean, back = ctx.saved_tensors
        if torch.is_grad_enabled():
            _, b, mean, _ = _Sums.forward(z, *ctx.range)
        # A sum moves with a value by its step, and as the boundary does, which moves all values around it: their mean.
        low, high = seen(scans(torch.stack([grad, grad * mean]), b), b, z, back)
        steps = at(grad.cumsum(-1), back - 1, 0.0) + 0.5 * (high[0] - low[0])
        slopes = low + high
        return grad.sum(-1, keepdim=True) - steps + 0.5 * (slopes[1] - z * slopes[0]), None, None
