"""Models that are solved, not trained: one gain, a filter, a static curve. A device model that loses to one is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardgrad_lab.baselines.knots import KnotTable
from hardgrad_lab.baselines.ridge import folds
from hardgrad_lab.devices.by_knob import Take, apart, place, sets
from hardgrad_lab.devices.device import Device

RIDGE = (
    1e-7  # share of the input's energy that each tap pays: 70 dB below, it settles bands where the input has nothing
)


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
        inner, right = torch.zeros(self.taps, self.taps).double(), torch.zeros(self.taps).double()
        for take in takes:
            products, wanted = _sums(take.dry, take.wet, self.taps, take.lead)
            inner, right = inner + products, right + wanted
        energy = float(inner[0, 0])
        return torch.linalg.solve(inner + torch.eye(self.taps) * (RIDGE * energy), right) if energy else right


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


def _sums(dry: Tensor, wet: Tensor, taps: int, lead: int) -> tuple[Tensor, Tensor]:
    """Return the products of all pairs of lagged inputs, summed over time, and those with the output.

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
    return inner, torch.stack([wet[lead:].double() @ part for part in lagged])
