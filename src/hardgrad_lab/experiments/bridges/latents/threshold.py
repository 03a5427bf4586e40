"""The baseline of table III that learns no representation: a small picture in black and white.

A picture is shrunk bilinearly until it has a pixel for each bit, and each pixel becomes 1 from a threshold on. The
threshold is the one whose bits a linear classifier tells the classes from best, on training rows that the classifier
did not learn from. The paper says no more; ours is how the picture comes back: enlarged bilinearly, with an offset and
a scale for each channel, which is all that is trained.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.bridges.classify.separability import separability
from hardgrad_lab.experiments.bridges.latents import Latents
from hardgrad_lab.experiments.bridges.latents.codes import Code, Cost
from hardgrad_lab.experiments.bridges.latents.data import Pair, passes

TRIED = [round(0.1 * step, 1) for step in range(1, 10)]
SEEN = 10_000  # training rows that choose the threshold: four in five to learn from, one in five to choose by


def grid(bits: int, channels: int) -> tuple[int, int]:
    """Return height and width, nearly equal, of the largest such picture that ``bits`` hold.

    Example:
        >>> grid(78, 1), grid(39, 1), grid(786, 3)
        ((8, 9), (6, 6), (16, 16))
    """
    height = math.isqrt(bits // channels)
    return height, bits // channels // height


class Shrink(nn.Module):
    """Pictures (B, channels, side, side) to the grey levels (B, bits) of small ones, bilinearly.

    Args:
        shape: height and width of the small ones.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        # antialias: else a small pixel would see four large ones, and nothing of the rest.
        return F.interpolate(x, self.shape, mode="bilinear", antialias=True).flatten(1)


class Threshold(Code):
    """One bit a pixel.

    Args:
        symbols: pixels times channels.
        threshold: grey level from which on a bit is 1.
    """

    threshold: Tensor

    def __init__(self, symbols: int, threshold: float) -> None:
        super().__init__(symbols, 2)
        self.register_buffer("threshold", torch.tensor(threshold))

    def hard(self, z: Tensor) -> Tensor:
        """Return the bits of grey levels."""
        return hg.hard.step(z - self.threshold)

    def cost(self, z: Tensor, cost: Cost) -> Tensor:
        """Return the cost at the bits: it trains the decoder, there is nothing else to train."""
        return cost(self.hard(z))


class Enlarge(nn.Module):
    """Bits to the logits of a picture: enlarged bilinearly, an offset and a scale for each channel.

    Args:
        channels: of the picture.
        shape: height and width of the small picture.
        side: of the large one.
    """

    def __init__(self, channels: int, shape: tuple[int, int], side: int) -> None:
        super().__init__()
        self.channels, self.shape, self.side = channels, shape, side
        self.offset = nn.Parameter(torch.full((channels, 1, 1), -2.0))
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 4.0))

    def forward(self, code: Tensor) -> Tensor:
        small = code.view(-1, self.channels, *self.shape)
        large = F.interpolate(small, (self.side, self.side), mode="bilinear")
        return self.offset + self.scale * large


def best_threshold(config: Latents, shrink: Shrink, data: Pair, device: torch.device) -> float:
    """Return the threshold that separates best; of equals the lowest."""
    count = min(SEEN, config.rows or SEEN)
    shown = [(shrink(x), y) for x, y in passes(config, data.train, count, device)]
    grey, labels = torch.cat([z for z, _ in shown]), torch.cat([y for _, y in shown])
    held = torch.arange(len(grey), device=device) % 5 == 4
    found = {}
    for threshold in TRIED:
        bits = hg.hard.step(grey, threshold)
        found[threshold] = separability(
            (bits[~held], labels[~held]), (bits[held], labels[held]), data.classes, decay=config.decay
        )
    return max(found, key=lambda threshold: found[threshold])
