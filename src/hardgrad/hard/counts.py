"""How many of n independent 0/1 units are 1: the law of subsets of k, counted without an approximation.

Weights w choose k of n in proportion to their product, and so do Bernoulli units of log-odds log w + t that are told to
have k ones, whatever the tilt t. With the tilt that lets k of them be expected, their count is k with a probability
that is no small number, and polynomials :math:`(1 - p_i) + p_i z`, multiplied pair by pair, have nothing but sums of
positive products in them: no logarithms, no cancellation, and O(n k) for all n, or O(n log^2 n) where k is large. The
tilt is a constant to autograd, since nothing depends on it, so derivatives of every order are those of these sums.

Source: Chen and Liu 1997 (Statistica Sinica 7, 875-892) for the law and its recursion.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad._torch_state import exporting, in_forward_mode, in_graph
from hardgrad.hard.precision import double
from hardgrad.hard.uniforms import two_part_uniform

_LONG = 256  # counts from which on Fourier transforms are faster: 3 times at 500, 20 times at 5000


@torch.no_grad()
def tilt(logits: Tensor, k: int) -> Tensor:
    """Return what to add to double precision logits (..., n) for k ones to be expected, within one; shape (..., 1)."""
    n = logits.shape[-1]
    end, width = logits.new_full((*logits.shape[:-1], 1), torch.inf), math.log(n)
    ordered = torch.cat([end, logits.detach().sort(-1, descending=True).values, -end], -1)
    last, first = ordered[..., k : k + 1], ordered[..., k + 1 : k + 2]  # of those chosen first, and of the others
    far = 2 * (width + 40)  # logits apart: further than double precision can feel
    last, first = torch.where(last.isfinite(), last, first + far), torch.where(first.isfinite(), first, last - far)
    # At one end at most one too few is expected, at the other at most one too many.
    ends = torch.cat([width - last, -width - first], -1).nan_to_num(0, 0, 0)
    low, high = ends.amin(-1, keepdim=True), ends.amax(-1, keepdim=True)
    # Until the expected count is within a standard deviation of k, which is at most the root of n / 4.
    for _ in range(math.ceil(math.log2(max(width * math.sqrt(n), 1)))):
        middle = (low + high) / 2
        too_many = (logits.detach() + middle).sigmoid().sum(-1, keepdim=True) > k
        low, high = torch.where(too_many, low, middle), torch.where(too_many, middle, high)
    return (low + high) / 2


def tree(x: Tensor, k: int) -> list[Tensor]:
    """Return the laws of counts of units, of pairs, of fours ... up to the two halves, from tilted logits (..., n).

    Each is of shape (..., an even number of groups, most ones a group can have + 1), without what is above k.
    """
    levels = [_even(torch.stack([(-x).sigmoid(), x.sigmoid()], -1)[..., : k + 1])]
    while levels[-1].shape[-2] > 2:
        left, right = levels[-1][..., 0::2, :], levels[-1][..., 1::2, :]
        size = left.shape[-1]
        most = min(2 * size - 1, k + 1)
        levels.append(_even(_weights(F.pad(right, (size - 1, max(most - size, 0))), left.flip(-1))[..., :most]))
    return levels


def probability(levels: list[Tensor], k: int) -> Tensor:
    """Return the probability of k ones, shape (...)."""
    left, right = _halves(levels, k)
    return (left * right).sum(-1)


def shares(levels: list[Tensor], k: int, n: int) -> tuple[Tensor, Tensor]:
    """Return how probable a 1 and a 0 of each unit are among outcomes of k ones, each shape (..., n)."""
    left, right = _halves(levels, k)
    # For each group and each count of its ones: how probable it is that all others have the rest.
    others = torch.stack([right, left.flip(-1)], -2)[..., : levels[-1].shape[-1]]
    for level in reversed(levels[:-1]):
        groups, size = level.shape[-2], level.shape[-1]
        others = F.pad(others[..., : groups // 2, :], (0, 2 * size - 1 - others.shape[-1]))
        swapped = level.unflatten(-2, (-1, 2)).flip(-2)
        both = others.unsqueeze(-2).expand(*swapped.shape[:-1], -1)
        others = _weights(both, swapped).flatten(-3, -2)
    weight = (others * levels[0])[..., :n, :] / (left * right).sum(-1)[..., None, None]
    if k == 0:
        return weight[..., 0] * 0, weight[..., 0]
    return weight[..., 1], weight[..., 0]


def masks(logits: Tensor, k: int, lead: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Return draws of subsets as 0 and 1 in double precision, shape (*lead, *logits.shape); NaN where there is none."""
    wide = double(logits)
    levels = tree(wide + tilt(wide, k), k)
    possible = (probability(levels, k) > 0).unsqueeze(-1)
    return torch.where(possible, draw(levels, k, logits.shape[-1], lead, generator).to(wide.dtype), torch.nan)


def draw(levels: list[Tensor], k: int, n: int, lead: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Return independent draws of the law, 0 and 1 in whole numbers, shape (*lead, ..., n): each half's count, and on.

    Where there is no outcome of k ones, the numbers have no meaning.
    """
    batch = levels[0].shape[:-2]
    counts = torch.full((*lead, *batch, 1), k, device=levels[0].device)
    for level in reversed(levels):
        left, right = level[..., 0::2, :], level[..., 1::2, :]
        most = left.shape[-1] - 1
        counts = counts[..., : left.shape[-2]]
        rest = counts.unsqueeze(-1) - torch.arange(most + 1, device=counts.device)
        other = right.expand(*rest.shape).gather(-1, rest.clamp(0, most))
        ascending = (left * other.masked_fill((rest < 0) | (rest > most), 0)).cumsum(-1)
        u = two_part_uniform((*counts.shape, 1), ascending, generator) * ascending[..., -1:]
        ones = (ascending <= u).sum(-1).clamp(max=most)
        counts = torch.stack([ones, counts - ones], -1).flatten(-2)
    return counts[..., :n]


def _even(groups: Tensor) -> Tensor:
    """Add a group that has no ones for certain, where the number of groups is odd."""
    if groups.shape[-2] % 2 == 0:
        return groups
    none = F.pad(groups.new_ones((*groups.shape[:-2], 1, 1)), (0, groups.shape[-1] - 1))
    return torch.cat([groups, none], -2)


def _weights(long: Tensor, window: Tensor) -> Tensor:
    """Return ``_slide`` of numbers of at least 0, which Fourier transforms may miss by the rounding of the largest."""
    sums = _slide(long, window)
    return sums.clamp(min=0) if window.shape[-1] > _LONG else sums


def _slide(long: Tensor, window: Tensor) -> Tensor:
    """Return the sums of products of a window (..., w) with each stretch of (..., l), shape (..., l - w + 1)."""
    if in_graph() or in_forward_mode():
        return _slid(long, window)
    return cast(Tensor, cast(Any, _Slide).apply(long, window))


def _slid(long: Tensor, window: Tensor) -> Tensor:
    size = window.shape[-1]
    if size > _LONG:
        spectrum = torch.fft.rfft(long) * torch.fft.rfft(window, long.shape[-1]).conj()
        around: Tensor = torch.fft.irfft(spectrum, long.shape[-1])
        return around[..., : long.shape[-1] - size + 1]
    if exporting():  # ONNX has no unfold
        starts, steps = (torch.arange(end, device=long.device) for end in (long.shape[-1] - size + 1, size))
        return (long[..., starts.unsqueeze(-1) + steps] * window.unsqueeze(-2)).sum(-1)
    return (long.unfold(-1, size, 1) @ window.unsqueeze(-1)).squeeze(-1)


class _Slide(torch.autograd.Function):
    """The same with gradients that are the same again: torch's own of ``unfold`` is slow, and slower under vmap."""

    generate_vmap_rule = True

    @staticmethod
    def forward(long: Tensor, window: Tensor) -> Tensor:
        return _slid(long, window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        long, window = ctx.saved_tensors
        around = window.shape[-1] - 1
        return _slide(F.pad(grad, (around, around)), window.flip(-1)), _slide(long, grad)


def _halves(levels: list[Tensor], k: int) -> tuple[Tensor, Tensor]:
    """Return the laws of both halves of the units, the second one backwards: 0 stands beside k, and so on."""
    most = levels[-1].shape[-1]
    halves = F.pad(levels[-1], (0, k + 1 - most))
    return halves[..., 0, :], halves[..., 1, :].flip(-1)
