"""What a device was heard to make of a sound: pairs of samples, and the parts of them that are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEAD_S = 2.0  # seconds before a part that bring its state: an optical compressor's slow release


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A sound and what the device made of it.

    Args:
        dry: (T,) samples in, float32.
        wet: (T,) samples out.
        knob: where the knob stood; None without one.
        name: such as the file's.
        lead: first samples that bring the state alone; nothing is measured on them or learned from what came out there.
    """

    dry: Tensor
    wet: Tensor
    knob: float | None = None
    name: str = ""
    lead: int = 0

    def __len__(self) -> int:
        return len(self.dry) - self.lead

    def part(self, begin: int, end: int, lead: int) -> Recording:
        """Return the samples from begin to end, with as many before them as there are up to ``lead``."""
        before = min(begin, lead)
        cut = slice(begin - before, end)
        return replace(self, dry=self.dry[cut], wet=self.wet[cut], lead=before)


@dataclass(frozen=True)
class Split:
    """Parts of recordings that share no sample that is learned from or measured on.

    Args:
        train: to learn from.
        held_out: to choose weights, and kinds, by.
        test: to report on.
    """

    train: list[Recording]
    held_out: list[Recording]
    test: list[Recording]


def knobs_of(recordings: Sequence[Recording]) -> list[float] | None:
    """Return the values of the knob that there are recordings of, ascending; None without a knob."""
    values = {each.knob for each in recordings}
    return None if values == {None} else sorted(float(value) for value in values if value is not None)


def knob_tensor(recordings: Sequence[Recording]) -> Tensor | None:
    """Return where the knob stood, (len(recordings),); None without a knob."""
    if knobs_of(recordings) is None:
        return None
    return torch.tensor([float(each.knob or 0.0) for each in recordings])
