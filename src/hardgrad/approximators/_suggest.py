"""Look at a hard function from outside and pick a network for it.

The probes change some entries of the example and see which outputs move, and reorder entries and see whether the output
follows. Every call of the function gets the same random state, so a sampler is probed like any other function.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad.approximators import networks

_LONGEST_SET = 512  # attention costs n * n; past this an mlp of half the width is cheaper
_WIDEST_MLP = 256
_TRIES = 8
_FARTHEST_NEIGHBOUR = 3  # pixels that two or three small convolutions reach


class Suggested(nn.Sequential):
    """An approximator that says why it was picked.

    Args:
        modules: the approximator's, as ``nn.Sequential`` takes them.
        reason: one sentence, shown by ``print``.
    """

    def __init__(self, *modules: Any, reason: str = "a part of one that was suggested") -> None:
        super().__init__(*modules)
        self.reason = reason

    def extra_repr(self) -> str:
        return f"reason: {self.reason}"


def suggest(hard: Callable[[Tensor], Tensor], example: Tensor) -> Suggested:
    """Return a network that fits a hard function, picked from its shapes and from probing it.

    Args:
        hard: any callable ``Tensor -> Tensor``; it is called some twenty times at most, without gradient, and a module
            as a copy, so that it counts nothing. It may write into its input.
        example: a batch as the layer will see it, shape ``(B, *)``, a floating dtype and no NaN. Varied values probe
            better than zeros.

    Returns:
        An approximator; ``.reason`` and ``print`` tell what was seen and why this one.

    Raises:
        TypeError: if the example is no tensor, or the function none.
        ValueError: if the example is not a floating batch of numbers, or the function does not return a tensor of its
            batch dimension.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.approximators.suggest(hg.hard.sign, torch.randn(4, 10)).reason
        'each output depends on the input at its own place alone, in one way everywhere: elementwise'
        >>> hg.approximators.suggest(hg.hard.sort, torch.randn(4, 10))(torch.zeros(4, 10)).shape
        torch.Size([4, 10])
    """
    _check_example(example)
    _check.function("suggest", "hard", hard)
    probe = _Probe(copy.deepcopy(hard) if isinstance(hard, nn.Module) else hard, example.detach())
    _check.returned("suggest", "hard", probe.output)
    if probe.output.ndim == 0 or probe.output.shape[0] != example.shape[0]:
        raise ValueError(
            f"suggest: hard must keep the batch (first) dimension, got input {tuple(example.shape)} and output "
            f"{tuple(probe.output.shape)}; apply it per sample"
        )
    network, reason = _pick(probe)
    return Suggested(*network, reason=reason).to(device=example.device, dtype=example.dtype)


def _check_example(example: Tensor) -> None:
    _check.tensor("suggest", "example", example)
    if example.ndim < 2 or not example.is_floating_point() or example.numel() == 0:
        raise ValueError(
            f"suggest: example must be a floating batch of shape (B, ...), got shape {tuple(example.shape)} and "
            f"{example.dtype}; add a batch dimension, or cast it"
        )
    if example.is_meta or bool(example.isnan().any()):
        what = "no numbers, on device meta" if example.is_meta else "NaN"
        raise ValueError(f"suggest: example must hold numbers to probe with, got {what}; give a batch of real ones")


@dataclass
class _Probe:
    hard: Callable[[Tensor], Tensor]
    x: Tensor

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.output = self(self.x)

    def __call__(self, x: Tensor, seed: int = 0) -> Tensor:
        devices = [x.device] if x.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            # A copy each way: the function may write into its input, and keep its output for the next call.
            output = self.hard(x.clone())
            return output.clone() if isinstance(output, Tensor) else output

    def moved(self, mask: Tensor) -> Tensor:
        """Which outputs move, in several tries, when the entries under ``mask`` are replaced by others like them.

        A hard function is flat nearly everywhere, so a single change would show too little.
        """
        pool = self.x.flatten()
        moved = torch.zeros_like(self.output, dtype=torch.bool)
        for _ in range(_TRIES):
            draw = torch.randint(pool.numel(), (pool.numel(),), generator=self.generator).to(pool.device)
            other = pool[draw].view_as(self.x)
            if bool((pool == pool[0]).all()):
                other = other + torch.randn(self.x.shape, generator=self.generator).to(self.x)
            moved |= self(torch.where(mask, other, self.x)) != self.output
        return moved

    def is_stochastic(self) -> bool:
        """Whether another random state gives another output."""
        return not torch.equal(self(self.x, seed=1), self.output)

    def follows(self, dim: int) -> bool:
        """Whether reordering the input along ``dim`` reorders the output in the same way."""
        order = torch.randperm(self.x.shape[dim], generator=self.generator).to(self.x.device)
        return _same(self(self.x.index_select(dim, order)), self.output.index_select(dim, order))

    def ignores(self, dim: int) -> bool:
        """Whether reordering the input along ``dim`` leaves the output as it is."""
        order = torch.randperm(self.x.shape[dim], generator=self.generator).to(self.x.device)
        return _same(self(self.x.index_select(dim, order)), self.output)

    def is_local(self) -> bool:
        """Whether no output moves but at the entries that were changed."""
        mask = torch.rand(self.x.shape, generator=self.generator).to(self.x.device) < 0.5
        return self.output.shape == self.x.shape and not bool((self.moved(mask) & ~mask).any())

    def is_uniform(self) -> bool:
        """Whether the function does the same everywhere. A sampler's noise stays in place, so it is not asked."""
        return self.is_stochastic() or all(self.follows(dim) for dim in range(1, self.x.ndim))

    def reach(self) -> int:
        """How far, in pixels, a changed pixel in the middle of (B, C, H, W) moves outputs of the same height, width."""
        height, width = self.x.shape[-2:]
        row, column = height // 2, width // 2
        mask = torch.zeros_like(self.x, dtype=torch.bool)
        mask[..., row, column] = True
        moved = self.moved(mask).nonzero()
        return int((moved[:, -2:] - torch.tensor([row, column], device=moved.device)).abs().max()) if len(moved) else 0


def _same(a: Tensor, b: Tensor) -> bool:
    # Not equal: sums over reordered entries round differently.
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _pick(probe: _Probe) -> tuple[nn.Sequential, str]:
    inward, outward = probe.x.shape[1:], probe.output.shape[1:]
    if probe.is_local() and probe.is_uniform():
        return networks.elementwise(), (
            "each output depends on the input at its own place alone, in one way everywhere: elementwise"
        )
    if len(inward) == 1 and outward == inward and inward[0] <= _LONGEST_SET and probe.follows(1):
        scalars = networks.sequence(1, 1, positions=False)
        return nn.Sequential(networks.Unsqueeze(), *scalars, networks.Squeeze()), (
            "reordering the input reorders the output in the same way: sequence without positions"
        )
    if len(inward) == 2 and len(outward) == 2 and outward[0] == inward[0] <= _LONGEST_SET:
        equivariant = probe.follows(1)
        return networks.sequence(inward[1], outward[1], positions=not equivariant), (
            "reordering the rows reorders the output in the same way: sequence without positions"
            if equivariant
            else "one output row for each input row, and their order matters: sequence with positions"
        )
    if len(inward) == 3 and len(outward) == 3 and outward[1:] == inward[1:] and probe.reach() <= _FARTHEST_NEIGHBOUR:
        return networks.conv(inward[0], outward[0]), (
            f"a feature map in and out, and a changed pixel moves outputs {probe.reach()} pixels away at most: conv"
        )
    return _dense(probe, inward, outward)


def _dense(probe: _Probe, inward: torch.Size, outward: torch.Size) -> tuple[nn.Sequential, str]:
    fan_in, fan_out = math.prod(inward), math.prod(outward)
    width = min(max(fan_in, fan_out, 32) // 2, _WIDEST_MLP)  # half the layer's width, as the published program
    network = networks.mlp(fan_in, fan_out, hidden=(width, width))
    if len(inward) != 1 or len(outward) != 1:
        network = nn.Sequential(
            networks.Reshape([fan_in], len(inward)), *network, networks.Reshape(outward, sample_ndim=1)
        )
    seen = "the order of the input does not matter" if probe.ignores(1) else "outputs depend on inputs at other places"
    return network, f"{seen}, {tuple(inward)} to {tuple(outward)}: mlp over the whole sample"
