"""Some stretches of recordings, side by side: what a device is begun with, however long the recordings are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hardgrad_lab.devices.by_knob import Take


class Stretches(NamedTuple):
    """Sounds (n, samples) in float64.

    Attributes:
        dry: what went in.
        wet: what came out.
        counts: 1 where it is measured, 0 where only the state is brought, and past the end.
        passed: share of its recording that has passed, 0 to 1.
    """

    dry: Tensor
    wet: Tensor
    counts: Tensor
    passed: Tensor

    def error(self, y: Tensor) -> Tensor:
        """Return the error-to-signal ratio of y (n, samples)."""
        wrong = (y - self.wet) * self.counts
        return wrong.square().sum() / (self.wet * self.counts).square().sum().clamp_min(1e-9)


def stretches(takes: Sequence[Take], length: int, most: int) -> Stretches:
    """Return at most so many stretches of a length, evenly apart; the first quarter of each brings the state."""
    length = min(length, max(len(take.dry) for take in takes))
    places = [(take, begin) for take in takes for begin in range(0, len(take.dry), length)]
    made = [_cut(take, begin, length) for take, begin in places[:: -(-len(places) // most)]]
    return Stretches(*(torch.stack(parts).double() for parts in zip(*made, strict=True)))


def _cut(take: Take, begin: int, length: int) -> tuple[Tensor, ...]:
    time = torch.arange(begin, begin + length)
    counts = (time >= take.lead) & (time < len(take.dry)) & (time >= (begin + length // 4 if begin else 0))
    dry, wet = (side[begin : begin + length] for side in (take.dry, take.wet))
    gap = (0, length - len(dry))
    return nn.functional.pad(dry, gap), nn.functional.pad(wet, gap), counts, time / len(take.dry)
