"""Whether a function gives the same outputs for the same input: if not, it is random, or it keeps a state."""

from __future__ import annotations

import math
import time
from typing import Literal

import torch
from torch import Tensor

from hardgrad.doctor.randomness import seed_of, seeded
from hardgrad.doctor.smoothed import Smoothed

Kind = Literal["same", "random", "state"]
_PROBES = 4  # the inputs, and batches with noise added
_CLOSE = 1e-4  # relative; sums may be made in another order


class Repeats:
    """Asks a function the same again: in two orders, with the same random numbers and with others.

    A function that gives other outputs with the random numbers of torch, NumPy and Python seeded alike keeps a state,
    or draws numbers that no seed reaches. One that gives others only with other seeds is random.

    Args:
        smoothed: the objective.
        seed: of the inputs and of what the function draws.
    """

    def __init__(self, smoothed: Smoothed, seed: int) -> None:
        self._smoothed, self._seed = smoothed, seed
        with seeded(seed, smoothed.x.device) as generator:
            noisy = smoothed.x + smoothed.noise(_PROBES - 1, generator)
        self._probes = [smoothed.x, *noisy]
        forth = range(_PROBES)
        self.seconds = math.inf  # of one evaluation of the batch, the least that was seen
        self._first = {place: self._outputs(place, "") for place in forth}
        self.rows = 0  # of those asked, which gave other outputs
        self.asked = _PROBES * smoothed.rows
        self.kind: Kind = "same"
        self.ask_again()
        if self.kind == "same" and any(self._differing(place, "other") for place in forth):
            self.kind = "random"

    def ask_again(self) -> Kind:
        """Return what the function is, after asking once more, in the opposite order."""
        rows = sum(self._differing(place, "") for place in reversed(range(_PROBES)))
        if rows:
            self.kind, self.rows = "state", max(rows, self.rows)
        return self.kind

    def _differing(self, place: int, purpose: str) -> int:
        first, now = self._first[place], self._outputs(place, purpose)
        if first.shape != now.shape:
            return self._smoothed.rows
        atol = _CLOSE * float(first.nan_to_num().abs().max()) if first.numel() else 0.0
        same = torch.isclose(now, first, rtol=_CLOSE, atol=atol, equal_nan=True)
        return int((~same.all(1)).sum())

    def _outputs(self, place: int, purpose: str) -> Tensor:
        """A row of outputs for each row of the batch."""
        smoothed, z = self._smoothed, self._probes[place]
        with torch.no_grad(), seeded(seed_of(self._seed, f"{purpose}{place}"), z.device):
            start = time.perf_counter()
            if smoothed.hard is not None:
                y = smoothed.hard(z.clone())
            else:
                y = smoothed.values(smoothed.sample(z.unsqueeze(0)), check=False)
            self.seconds = min(self.seconds, time.perf_counter() - start)
            return y.reshape(smoothed.rows, -1).double().clone()


CHANGES = "All of this holds as far as the function is the same at every call, which it is not."


def words_of(kind: Kind | None, rows: int, asked: int) -> list[str]:
    """Return what to know of a function that does not repeat itself."""
    if kind == "state":
        return [
            f"the function gives different outputs for the same input ({rows} of {asked} rows, with the same random "
            "seeds): it keeps a state, or draws random numbers that no seed reaches, so the truth and every number "
            "below are those of a function that changed while it was measured; let it begin anew at each call, put a "
            "module in eval(), or make its state a part of the input"
        ]
    if kind == "random":
        return [
            "the function draws random numbers: the truth is that of its average over them, and each candidate meets "
            "them as noise"
        ]
    return []
