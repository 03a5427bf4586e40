"""Models that are solved, not trained: one gain, a filter, a static curve. A device model that loses to one is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardgrad_lab.baselines.knots import KnotTable
from hardgrad_lab.baselines.ridge import FOLDS, folds
from hardgrad_lab.devices.by_knob import Take, apart, place, sets
from hardgrad_lab.devices.device import Device

# Shares of the input's energy that each tap pays. The least settles bands where the input has nothing; a swept sine, of
# which a part has a few notes, wants more.
RIDGES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Solved(Device):
    """A device of one vector of numbers a knob value, ``values`` (K, N), found by least squares in float64.

    A subclass says what the numbers of some recordings are, ``_found``, and what they do to a chunk.
    """

    def __init__(self, *, rate: int, knob: list[float] | None = None, size: int = 1, **spec: Any) -> None:
        super().__init__(rate=rate, knob=knob, **spec)
        self.values = nn.Parameter(torch.zeros(sets(knob), size), requires_grad=False)

    def solve(self, recordings: Sequence[Take]) -> None:
        """Take the numbers of least squared error on these recordings."""
        owner = type(self).__name__
        found = [self._found(own) for own in apart(owner, self.knob, recordings)]
        self.values.data.copy_(torch.stack(found))

    def active(self) -> int:
        return self.values.shape[1]

    def _of(self, x: Tensor, knob: Tensor | None) -> Tensor:
        """Return the numbers of each row, (B, N)."""
        return self.values[place(type(self).__name__, self.knob, knob, x)].to(x.dtype)

    def _found(self, takes: Sequence[Take]) -> Tensor:
        raise NotImplementedError


class Constant(Solved):
    """One gain."""

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        return self._of(x, knob) * x, None

    def describe(self) -> str:
        return "one gain"

    def _found(self, takes: Sequence[Take]) -> Tensor:
        both = sum(float(torch.dot(*_heard(take))) for take in takes)
        own = sum(float(_heard(take)[0].square().sum()) for take in takes)
        return torch.tensor([both / own if own else 0.0])


class Filter(Solved):
    """A filter of the last ``taps`` samples: what is linear in a device."""

    def __init__(self, *, rate: int, knob: list[float] | None = None, taps: int = 64) -> None:
        super().__init__(rate=rate, knob=knob, size=taps, taps=taps)
        self.taps = taps

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        before = x.new_zeros(x.shape[0], self.taps - 1) if state is None else state
        whole = torch.cat([before, x], dim=1)
        # Tap by tap: a product of matrices rounds otherwise for another length, and chunks would not be the whole.
        y = torch.zeros_like(x)
        for lag, weight in enumerate(self._of(x, knob).unbind(1)):
            begin = self.taps - 1 - lag
            y = y + weight[:, None] * whole[:, begin : begin + x.shape[1]]
        return y, whole[:, x.shape[1] :]

    def describe(self) -> str:
        return f"a filter of {self.taps} taps"

    def _found(self, takes: Sequence[Take]) -> Tensor:
        parts = [self._sums(takes, number) for number in range(FOLDS)]
        inner, right, _ = (torch.stack(each).sum(0) for each in zip(*parts, strict=True))

        def unseen(ridge: float) -> float:
            """Return the squared error on each fold of what is found on the others."""
            errors = 0.0
            for own, wanted, out in parts:
                taps = _ridge(inner - own, right - wanted, ridge)
                errors += float(taps @ own @ taps - 2 * taps @ wanted + out)
            return errors

        return _ridge(inner, right, min(RIDGES, key=unseen))

    def _sums(self, takes: Sequence[Take], number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the products, and the output's energy, of one fold: a stretch of each recording."""
        made = [torch.zeros(size, dtype=torch.float64) for size in ((self.taps, self.taps), (self.taps,), ())]
        for take in takes:
            begin, end = (take.lead + i * (len(take.dry) - take.lead) // FOLDS for i in (number, number + 1))
            first = max(0, begin - self.taps)
            if begin < end:
                found = _products(take.dry[first:end], take.wet[first:end], self.taps, begin - first)
                made = [whole + part for whole, part in zip(made, found, strict=True)]
        return made[0], made[1], made[2]


class Table(Solved):
    """A static curve: straight lines between ``knots`` knots, by equal distances or quantiles, as held-out time likes.

    ``values`` are the knots and then what the curve is at them; outside it stays where it ends.
    """

    def __init__(self, *, rate: int, knob: list[float] | None = None, knots: int = 65) -> None:
        super().__init__(rate=rate, knob=knob, size=2 * knots, knots=knots)
        self.knots = knots

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        at, value = (part.contiguous() for part in self._of(x, knob).split(self.knots, dim=1))
        left = (torch.searchsorted(at, x.contiguous(), right=True) - 1).clamp(0, self.knots - 2)
        low, high = at.gather(1, left), at.gather(1, left + 1)
        share = ((x - low) / (high - low)).clamp(0, 1)
        begin = value.gather(1, left)
        return begin + share * (value.gather(1, left + 1) - begin), None

    def describe(self) -> str:
        return f"a static curve of {self.knots} knots"

    def _found(self, takes: Sequence[Take]) -> Tensor:
        key, y = (torch.cat(parts).numpy() for parts in zip(*map(_heard, takes), strict=True))
        table = KnotTable(key, y[:, None], folds(len(key), ordered=True, seed=0), counts=(self.knots,))
        at, first = np.unique(table.knots.astype(np.float32), return_index=True)
        lacking = self.knots - len(at)  # a silent input has fewer places than knots
        at = np.concatenate([at, at[-1] + 1.0 + np.arange(lacking)])
        return torch.from_numpy(np.concatenate([at, np.pad(table.values[first, 0], (0, lacking), mode="edge")]))


def _heard(take: Take) -> tuple[Tensor, Tensor]:
    """Return what is learned from of a recording, without the samples that bring the state alone."""
    return take.dry[take.lead :].double(), take.wet[take.lead :].double()


def _ridge(inner: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Return the taps; each pays for what it differs from one gain."""
    energy, taps = float(inner[0, 0]), torch.zeros_like(right)
    if energy > 0:
        taps[0] = right[0] / energy
        taps += torch.linalg.solve(inner + torch.eye(len(inner)) * (ridge * energy), right - inner @ taps)
    return taps


def _products(dry: Tensor, wet: Tensor, taps: int, lead: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the products of all pairs of lagged inputs, summed over time, those with the output, and its energy.

    One lag further along both is the same sum, a sample earlier: so 2 taps passes over the recording make it all.
    """
    padded = nn.functional.pad(dry.double(), (taps, 0))
    count = len(dry) - lead
    lagged = [padded[taps + lead - lag :][:count] for lag in range(taps)]
    inner = torch.empty(taps, taps, dtype=torch.float64)
    inner[0] = torch.stack([lagged[0] @ part for part in lagged])
    enters, leaves = (padded[at - taps + 1 : at + 1].flip(0) for at in (taps + lead - 1, taps + len(dry) - 1))
    for lag in range(1, taps):
        inner[lag, 0] = inner[0, lag]
        inner[lag, 1:] = inner[lag - 1, :-1] + enters[lag - 1] * enters[:-1] - leaves[lag - 1] * leaves[:-1]
    out = wet[lead:].double()
    return inner, torch.stack([out @ part for part in lagged]), out @ out
