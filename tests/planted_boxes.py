"""Black boxes with one thing planted in each, and clean ones: what an examination must find, and must not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
_random = np.random.default_rng(7)
SIGNAL = torch.from_numpy(_random.normal(size=(3, 300)) * 0.3).float()
KNOBS = torch.from_numpy(_random.random((3, 4))).float()
MIX = torch.from_numpy(_random.normal(size=(16, 24))).float()


@dataclass(frozen=True)
class Box:
    """A box and what is planted in it.

    Args:
        make: makes one, with no state of another.
        x: what it is examined with.
        kind: of the finding; empty for a clean box.
        value: of the finding.
        place: of the finding: which input and which number of it.
        also: kinds that follow from what is planted.
        options: of examine.
    """

    make: Callable[[], Callable[..., Any]]
    x: tuple[Any, ...]
    kind: str = ""
    value: float | None = None
    place: tuple[int | None, int | None] = (None, None)
    also: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------- what is planted


class Leaky:
    """A one-pole filter that goes on where the call before ended; ``keep`` says what is kept over: calls, rows."""

    def __init__(self, keep: str) -> None:
        self.keep, self.last = keep, 0.0

    def __call__(self, x: Array) -> Array:
        if self.keep != "calls":
            self.last = 0.0
        y = np.empty_like(x)
        for r, row in enumerate(x):
            if self.keep == "nothing":
                self.last = 0.0
            for t, value in enumerate(row):
                self.last = 0.9 * self.last + 0.1 * value
                y[r, t] = self.last
        return y


class Warming:
    """A gain that grows with each call, and never settles."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.01 * self.calls)


class Late:
    """A knob that is applied after the call in which it was set."""

    def __init__(self) -> None:
        self.gain = 1.0

    def __call__(self, x: Tensor, knobs: Tensor) -> Tensor:
        gains = [self.gain, *(1 + knobs[:, 1]).tolist()]
        self.gain = gains[-1]
        return x * torch.tensor(gains[:-1])[:, None]


def late(samples: int, gain: float = 1.0) -> Callable[[Tensor], Tensor]:
    return lambda x: gain * torch.nn.functional.pad(x, (samples, 0))[..., : x.shape[-1]]


def half_late(x: Tensor) -> Tensor:
    """12.5 samples, by a line between neighbours."""
    return (late(12)(x) + late(13)(x)) / 2


def folder(x: Tensor) -> Tensor:
    return torch.sin(4 * x)


def shaper(x: Tensor, knobs: Tensor) -> Tensor:
    """Three knobs of four are used."""
    return knobs[:, :1] * torch.tanh(x * (1 + knobs[:, 1:2])) + knobs[:, 3:] * x


def eighths(knobs: Tensor) -> Tensor:
    """Stairs of 1/8 in each knob, and a memory: outputs that follow slowly."""
    y = torch.tanh((torch.floor(8 * knobs) / 8 - 0.5) @ MIX)
    slow = [y[:, 0]]
    for column in y.T[1:]:
        slow.append(0.7 * slow[-1] + 0.3 * column)
    return torch.stack(slow, 1)


EDGES = np.array([0.03, 0.07, 0.1, 0.2, 0.25, 0.33, 0.5, 0.61, 0.66, 0.8, 0.97])


def uneven(knobs: Array) -> Array:
    """A table of uneven ranges for each knob, linear on the whole."""
    middles = np.concatenate([[0.0], (EDGES[1:] + EDGES[:-1]) / 2, [1.0]])
    return np.asarray(middles[np.searchsorted(EDGES, knobs)] @ MIX.numpy()[: knobs.shape[1], :6])


def saw(x: Tensor, knobs: Tensor) -> Tensor:
    """A bit crusher with whole bits: knob 0 goes from 2 to 8 bits."""
    bits = torch.floor(2 + 6 * knobs[:, :1])
    return torch.round(x * 2**bits) / 2**bits + 0 * knobs[:, 1:2]


class Hertz:
    """A tone whose frequency is set in steps of 50 Hz, in Hz."""

    def __call__(self, hz: Array) -> Array:
        return np.asarray(np.round(hz / 50) @ np.ones((hz.shape[1], 1)) * 0.05)


class Unseeded:
    """Noise of its own, which no seed reaches."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def __call__(self, x: Array) -> Array:
        return x + 0.1 * self.random.normal(size=x.shape)


def writes(x: Array) -> Array:
    y = 2 * x
    x *= 0
    return y


def part(x: Tensor) -> Tensor:
    """Not a number below 0.2 in the first number."""
    return torch.sqrt(x[:, :1] - 0.2) + x[:, 1:]


def refuses(x: Array) -> Array:
    if (x[:, 1] > 0.9).any():
        raise RuntimeError("too hot")
    return x**2


class Held:
    """Knob 2 is read back as it was: it is never set, though the output hides it."""

    def __init__(self) -> None:
        self.held = [0.0, 0.0, 0.5, 0.0]

    def __call__(self, x: Tensor, knobs: Tensor) -> Tensor:
        self.held = [*knobs[0, :2].tolist(), 0.5, float(knobs[0, 3])]
        return shaper(x, knobs) + 0.1 * knobs[:, 2:3]

    def read(self) -> list[float]:
        return self.held


_of = {"low": (None, 0), "high": (None, 1)}
held = Held()
PLANTED = {
    "state over calls": Box(lambda: Leaky("calls"), (SIGNAL.numpy(),), "state", also=("rows",)),
    "a gain that grows": Box(Warming, (SIGNAL,), "state"),
    "state over rows": Box(lambda: Leaky("rows"), (SIGNAL.numpy(),), "rows"),
    "mean of the batch": Box(lambda: lambda x: x - x.mean(0), (SIGNAL,), "rows"),
    "place in the batch": Box(lambda: lambda x: x * torch.arange(1.0, 1 + len(x))[:, None], (SIGNAL,), "rows"),
    "37 samples late": Box(lambda: late(37), (SIGNAL,), "delay", 37, (0, None)),
    "5 late, turned over, folded": Box(lambda: lambda x: late(5, -1.0)(folder(x)), (SIGNAL,), "delay", 5, (0, None)),
    "12.5 samples late": Box(lambda: half_late, (SIGNAL,), "delay", 12.5, (0, None)),
    "one knob unused": Box(lambda: shaper, (SIGNAL, KNOBS), "unapplied", None, (1, 2), options=_of),
    "one knob not set": Box(
        lambda: held, (SIGNAL, KNOBS), "unapplied", None, (1, 2), options={**_of, "read": held.read}
    ),
    "one knob late": Box(
        Late, (SIGNAL, KNOBS[:, :2]), "late", None, (1, 1), also=("unapplied", "state", "rows"), options=_of
    ),
    "stairs of 1/8": Box(
        lambda: eighths,
        (torch.rand(6, 16, generator=torch.Generator().manual_seed(1)),),
        *("stairs", 0.125, (0, 5)),
        options={"low": 0, "high": 1},
    ),
    "uneven stairs": Box(
        lambda: uneven, (_random.random((4, 3)),), "stairs", 0.126, (0, 1), options={"low": 0, "high": 1}
    ),
    "bits": Box(lambda: saw, (SIGNAL, KNOBS[:, :2]), "stairs", 1 / 6, (1, 0), also=("unapplied",), options=_of),
    "steps of 50 Hz": Box(
        Hertz, (1000 * _random.random((4, 2)),), "stairs", 50, (0, 0), options={"low": 0, "high": 1000}
    ),
    "noise": Box(lambda: lambda x: x + 0.1 * torch.randn_like(x), (SIGNAL,), "random"),
    "noise without a seed": Box(Unseeded, (SIGNAL.numpy(),), "random"),
    "writes": Box(lambda: writes, (SIGNAL.numpy(),), "writes", None, (0, None)),
    "memory over a cut": Box(
        lambda: Leaky("nothing"), (SIGNAL.numpy(),), "chunks", None, (0, None), options={"chunks": True}
    ),
    "not a number": Box(lambda: part, (0.3 + 0.6 * KNOBS,), "nan", None, (0, 0), options={"low": 0, "high": 1}),
    "raises": Box(lambda: refuses, (0.8 * KNOBS.numpy(),), "raises", None, (0, 1), options={"low": 0, "high": 1}),
}

# ----------------------------------------------------------------------------------------------------------- the clean


def median(x: Array) -> Array:
    padded = np.pad(x, ((0, 0), (2, 2)), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1), axis=-1))


def compressor(x: Array, knobs: Array) -> Array:
    """Begins anew at each row."""
    y = np.empty_like(x)
    for r, row in enumerate(x):
        envelope = 0.0
        for t, value in enumerate(row):
            envelope += (0.02 + 0.3 * knobs[r, 0]) * (abs(value) - envelope)
            y[r, t] = value / (1 + knobs[r, 1] * 5 * envelope)
    return y


def numpy_function(x: Array) -> Array:
    return np.exp(-np.square(x).sum(1)) + np.abs(x[:, 0]) + np.maximum(x[:, 1], 0.1)


CLEAN = {
    "filter without a clear lag": Box(
        lambda: (
            lambda x: torch.nn.functional.conv1d(
                x[:, None], torch.tensor([[[1.0, -0.9, 0.8, 0.5, -0.7, 0.6, 0.1]]]), padding="same"
            )[:, 0]
        ),
        (SIGNAL,),
    ),
    "wave shaper": Box(lambda: lambda x: torch.tanh(3 * x), (SIGNAL,)),
    "median filter": Box(lambda: median, (SIGNAL.numpy(),)),
    "numpy function": Box(lambda: numpy_function, (_random.normal(size=(5, 3)),)),
    "matrix product": Box(
        lambda: lambda x: x @ torch.cat([MIX] * 3, 1)[:, :64], (torch.from_numpy(_random.normal(size=(4, 16))).float(),)
    ),
    "compressor with reset": Box(lambda: compressor, (SIGNAL.numpy(), KNOBS.numpy()[:, :2]), options=_of),
    "mixing matrix over time": Box(
        lambda: lambda x: x @ torch.from_numpy(np.random.default_rng(2).normal(size=(300, 300))).float(), (SIGNAL,)
    ),
    "clipped": Box(
        lambda: lambda x: x.clamp(-0.5, 0.5), (torch.randn(4, 6, generator=torch.Generator().manual_seed(0)),)
    ),
}

# ------------------------------------------------- five with stairs, memory or delay; and how wide the stairs are


def gate(x: Tensor, knobs: Tensor) -> Tensor:
    """Open where a falling envelope is above a threshold that is set in tenths; closed a little later than opened."""
    threshold, envelope, y = 0.1 + torch.floor(10 * knobs[:, 0]) / 10, torch.zeros(len(x)), []
    for sample in x.T:
        envelope = torch.maximum(sample.abs(), 0.97 * envelope)
        y.append(sample * (envelope > threshold))
    return torch.stack(y, 1)


def late_crusher(x: Tensor, knobs: Tensor) -> Tensor:
    """23 samples late; a gain in sixths and a step of loudness in fifths, and 16 values a side."""
    crushed = torch.round(torch.tanh(3 * x) * (0.3 + torch.round(knobs[:, 1:] * 6) / 6) * 16) / 16
    return late(23)(crushed + 2 ** -torch.floor(1 + knobs[:, :1] * 5) * x.abs())


def counts(knobs: Tensor) -> Tensor:
    """Whole numbers of two kinds of things."""
    many, few = torch.round(knobs.clamp(0, 1)[:, :1] * 20), torch.round(knobs.clamp(0, 1)[:, 1:] * 12)
    return torch.cat([many * few.mean(1, keepdim=True) / 100, (few - many / 2).abs() / 10, torch.log1p(many)], 1)


def table(knobs: Tensor) -> Tensor:
    return torch.from_numpy(uneven(knobs.numpy())).float()


def _drawn(rows: int, count: int) -> Tensor:
    return 0.15 + 0.7 * torch.rand(rows, count, generator=torch.Generator().manual_seed(rows))


_unit = {"low": 0, "high": 1}
FIVE = {
    "stairs of 1/8 with a memory": (Box(lambda: eighths, (_drawn(6, 16),), options=_unit), [1 / 8] * 16),
    "uneven stairs": (Box(lambda: table, (_drawn(7, 3),), options=_unit), [1 / 9] * 3),
    "gate with a memory": (Box(lambda: gate, (2 * SIGNAL[:, :100], _drawn(3, 1)), options=_of), [1 / 10]),
    "late crusher": (Box(lambda: late_crusher, (SIGNAL, _drawn(3, 2)), options=_of), [1 / 5, 1 / 6]),
    "whole numbers": (Box(lambda: counts, (_drawn(5, 5),), options=_unit), [1 / 20, *[1 / 12] * 4]),
}
