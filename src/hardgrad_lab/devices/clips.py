"""Places of recordings as batches: each step of a training hears some of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hardgrad_lab.devices.recordings import Recording, knobs_of

BATCH = 16  # places at once
WARM_UP = 1024  # samples that bring the state, without a gradient
CHUNK = 1024  # samples between updates
LENGTH = 8192  # samples of a place that are learned from
FEWEST = 64  # samples of a chunk: less is no sound
LONG_ENOUGH = 0.9  # of the samples, that must lie in recordings of a clip's length


class Clips:
    """Batches of places without end, each drawn from the seed and its number alone.

    Args:
        recordings: to take them from.
        seed: of the places.
        chunk: samples between updates.

    Attributes:
        chunk: samples between updates.
        length: samples of a place that are learned from, some chunks; before them come ``WARM_UP``.
        knob: whether there is one.
        used: samples that are in recordings of a place's length.

    Raises:
        ValueError: if no recording is long enough.
    """

    def __init__(self, recordings: Sequence[Recording], seed: int, chunk: int = CHUNK) -> None:
        lengths = sorted((len(each) for each in recordings), reverse=True)
        reached = torch.tensor(lengths).cumsum(0) >= LONG_ENOUGH * sum(lengths)
        usual = lengths[int(reached.nonzero()[0])] if lengths else 0
        if usual < FEWEST:
            raise ValueError(f"recordings must have at least {FEWEST} samples to learn from, got {usual}")
        self.chunk = min(chunk, usual)
        self.length = max(1, min(LENGTH, usual) // self.chunk) * self.chunk
        self.recordings = [each for each in recordings if len(each) >= self.length]
        self.used = sum(map(len, self.recordings))
        self.batch_size = max(1, min(BATCH, self.used // self.length))
        self.seed, self.taken = seed, 0
        self.knob = knobs_of(recordings) is not None
        self._ends = torch.tensor([len(each) - self.length + 1 for each in self.recordings]).cumsum(0)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return sounds (2, B, WARM_UP + length), dry and wet, and where their knobs stood, (B,), 0 without one."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.taken)
        places = torch.randint(int(self._ends[-1]), (self.batch_size,), generator=generator)
        which = torch.searchsorted(self._ends, places, right=True)
        self.taken += 1
        sounds = [self._sound(int(i), int(self._ends[i] - 1 - place)) for i, place in zip(which, places, strict=True)]
        knobs = [self.recordings[int(i)].knob or 0.0 for i in which]
        return torch.stack(sounds, dim=1), torch.tensor(knobs)

    def _sound(self, i: int, begin: int) -> Tensor:
        """Return a place, (2, WARM_UP + length); before a recording there was silence."""
        found = self.recordings[i]
        begin += found.lead
        part = slice(max(0, begin - WARM_UP), begin + self.length)
        sound = torch.stack([found.dry[part], found.wet[part]])
        return torch.nn.functional.pad(sound, (WARM_UP + self.length - sound.shape[1], 0))

    def state_dict(self) -> dict[str, int]:
        """Return where the stream stands."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where ``state`` was taken."""
        self.taken = state["taken"]
