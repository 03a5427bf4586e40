"""What a network is shown of bytes: scaled, standardised, shifted, mirrored. All of it runs on the device, on batches.

Each is a function of bytes (B, channels, height, width) and of a generator on their device, which those without chance
ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Prepare = Callable[[Tensor, torch.Generator], Tensor]

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of its training rows


def scaled(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return x / 255, from 0 to 1, in single precision.

    Example:
        >>> scaled(torch.tensor([[0, 51, 255]], dtype=torch.uint8), torch.Generator())
        tensor([[0.0000, 0.2000, 1.0000]])
    """
    del generator
    return x.float() / 255


class Standardized:
    """(x / 255 - mean) / std, channel by channel.

    Args:
        mean: of each channel, on the scale from 0 to 1.
        std: of each channel.

    Example:
        >>> Standardized([0.5], [0.5])(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.Generator())
        tensor([[[[-1.,  1.]]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(values).view(-1, 1, 1) * 255 for values in (mean, std))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        if self._mean.device != x.device:  # once: a copy to a GPU for every batch would wait for all that it has to do
            self._mean, self._std = self._mean.to(x.device), self._std.to(x.device)
        return (x.float() - self._mean) / self._std


@dataclass(frozen=True)
class Shifted:
    """Each picture moved by a random whole number of pixels each way, with zeros where nothing was.

    The same as a random crop from the picture padded by ``most`` on all sides.

    Args:
        most: pixels, up, down, left and right; 4 is customary for CIFAR-10.
    """

    most: int = 4

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        rows, channels, height, width = x.shape
        moves = torch.randint(0, 2 * self.most + 1, (2, rows, 1), generator=generator, device=x.device)
        down = moves[0] + torch.arange(height, device=x.device)
        across = moves[1] + torch.arange(width, device=x.device)
        padded = F.pad(x, (self.most,) * 4)
        taken = padded.gather(2, down.view(rows, 1, height, 1).expand(-1, channels, -1, padded.shape[3]))
        return taken.gather(3, across.view(rows, 1, 1, width).expand(-1, channels, height, -1))


def mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return the pictures, each turned left to right with probability one half."""
    turned = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5
    return torch.where(turned, x.flip(-1), x)


@dataclass(frozen=True)
class InTurn:
    """Several steps, each on what the one before made.

    Args:
        steps: the first sees bytes.

    Example:
        >>> cifar = InTurn([Shifted(4), mirrored, Standardized(CIFAR10_MEAN, CIFAR10_STD)])
        >>> cifar(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    steps: Sequence[Prepare]

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        for step in self.steps:
            x = step(x, generator)
        return x
