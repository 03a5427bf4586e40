"""The boxes: programs from rows of numbers to rows of sound. A wavefolder, a gate and a crusher; the rest plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardgrad_lab.experiments.bridges.boxes import KNOBS
from hardgrad_lab.experiments.switches.waveshaper.run import shape

RATE = 11_025
Rows = np.ndarray[Any, Any]


class Box:
    """A program as a function of a batch, that counts the rows it computed.

    Args:
        program: of rows.
    """

    def __init__(self, program: Callable[[Rows], Rows]) -> None:
        self.program, self.calls = program, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += len(x)
        return torch.from_numpy(self.program(x.numpy())).to(x.dtype)


def box_of(task: str) -> Box:
    """Return the box of a task."""
    formula = {"fold": partial(shape, "fold"), "crush": partial(shape, "crush"), "gate": gate}
    return Box(formula[task] if task in formula else partial(_each, {"compressor": compressor, "codec": codec, "knobs": chain}[task]()))


def gate(x: Rows, high: float = 0.25, low: float = 0.1, hold: int = 64) -> Rows:
    """Open where the peak of the last ``hold`` samples passes ``high``, close below ``low``; closed keeps a tenth."""
    padded = np.pad(np.abs(x), [(0, 0), (hold - 1, 0)])
    peak = np.lib.stride_tricks.sliding_window_view(padded, hold, axis=1).max(-1)
    decided = np.where((peak > high) | (peak < low), np.arange(x.shape[1]), 0)
    last = np.take_along_axis(peak, np.maximum.accumulate(decided, axis=1), axis=1)
    return np.where(last > high, x, 0.1 * x)


def _each(run: Callable[[Rows], Rows], x: Rows) -> Rows:
    return np.stack([run(row) for row in x])


def compressor() -> Callable[[Rows], Rows]:
    import pedalboard
    device = pedalboard.Compressor(threshold_db=-30, ratio=8, attack_ms=2, release_ms=60)
    return lambda row: device(row.astype("float32"), RATE)


def codec() -> Callable[[Rows], Rows]:
    import pedalboard
    device = pedalboard.GSMFullRateCompressor()
    return lambda row: device(row.astype("float32"), RATE)


def chain() -> Callable[[Rows], Rows]:
    import pedalboard as p
    devices = [p.Compressor(), p.LowShelfFilter(150), p.PeakFilter(q=0.7), p.PeakFilter(2500, q=0.7), p.HighShelfFilter(3500), p.Gain()]
    where = [(0, "threshold_db", -50, 0), (0, "ratio", 1, 12), (0, "attack_ms", 0.5, 50), (0, "release_ms", 10, 300), (1, "gain_db", -15, 15), (2, "cutoff_frequency_hz", 200, 2000), (2, "gain_db", -15, 15), (3, "gain_db", -15, 15), (4, "gain_db", -15, 15), (5, "gain_db", -12, 12)]
    board = p.Pedalboard(devices)
    def run(row: Rows) -> Rows:
        for value, (i, name, low, high) in zip(row[:KNOBS], where, strict=True):
            setattr(devices[i], name, float(low + (high - low) * min(max(value, 0), 1)))
        return board(row[KNOBS:].astype("float32"), RATE)
    return run
