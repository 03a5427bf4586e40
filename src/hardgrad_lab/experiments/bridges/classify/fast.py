"""The fast setting's network: small, and made for training in minutes, after the public speed runs on CIFAR-10.

A first convolution that whitens 2x2 patches and stays as it is; three blocks of convolution, pooling, normalization,
GELU, convolution, normalization, GELU; a scaled linear head. Its four stages are that convolution and the blocks.

Source: Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds on a single GPU (arXiv 2404.00498), sections 2 and 3, whose last
pooling is left out for the hard layer; whitening and identity start there; Muon after Jordan et al. 2024.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad_lab.experiments.bridges.classify.config import WHITENED
from hardgrad_lab.experiments.bridges.classify.networks import Classifier

LEAST = 5e-4  # added to a direction's variance, of standardized pixels


class Whitening(nn.Module):
    """The principal directions of 2x2 patches of color, each divided by its deviation, and their opposites."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", torch.randn(WHITENED, 3, 2, 2) / math.sqrt(12))
        self.bias = nn.Parameter(torch.zeros(WHITENED))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.filters, self.bias)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take the directions from standardized pictures."""
        patches = F.unfold(x, 2).transpose(1, 2).reshape(-1, 12).double()
        variance, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        rows = (directions / (variance + LEAST).sqrt()).T.reshape(12, 3, 2, 2)
        self.filters.copy_(torch.cat([rows, -rows]))


class Filters(nn.Module):
    """A convolution of 3x3 whose filters are the rows of one matrix, as Muon wants them; it starts as the identity.

    Args:
        fan_in: channels on entry.
        fan_out: and on exit.
    """

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        start = torch.empty(fan_out, 3, 3, fan_in).uniform_(-1, 1) / math.sqrt(9 * fan_in)
        start[: min(fan_in, fan_out)] = 0
        start[range(min(fan_in, fan_out)), 1, 1, range(min(fan_in, fan_out))] = 1
        self.rows = nn.Parameter(start.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.rows.view(len(self.rows), 3, 3, -1).permute(0, 3, 1, 2), padding=1)


def block(fan_in: int, fan_out: int, *, rounded_up: bool) -> nn.Sequential:
    """Return a block, which halves the map."""

    def normalized() -> list[nn.Module]:
        return [nn.BatchNorm2d(fan_out, momentum=0.4), nn.GELU()]

    pool = nn.MaxPool2d(2, ceil_mode=rounded_up)
    return nn.Sequential(Filters(fan_in, fan_out), pool, *normalized(), Filters(fan_out, fan_out), *normalized())


def fast_network(width: int, layer: nn.Module, **given: Any) -> Classifier:
    """Return the network with a layer of choice in place of its stage's last GELU; the identity leaves it.

    Behind a GELU a signum would see few negative values. ``whiten`` is still to be called.
    """
    widths = (WHITENED, width, 4 * width, 4 * width)
    pairs = enumerate(pairwise(widths))
    blocks = [block(*each, rounded_up=place == 2) for place, each in pairs]  # 31, 15, 7 and 4 places
    stages = [nn.Sequential(Whitening(), nn.GELU()), *blocks]
    if not isinstance(layer, nn.Identity):
        del stages[given["stage"] - 1][-1]
    return Classifier(stages, widths[-1], layer, scale=1 / math.sqrt(widths[-1] * given["features"]), **given)


def whiten(model: nn.Module, x: Tensor) -> None:
    """Take the filters of a network's first convolution from standardized pictures."""
    for each in model.modules():
        if isinstance(each, Whitening):
            each.fit(x)
