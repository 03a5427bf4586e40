"""The boxes: a wavefolder, a crusher and a gate by formula, and plug-ins: a compressor, a codec, a chain of effects."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

import hardgrad as hg
from hardgrad_lab.audio import plugin
from hardgrad_lab.experiments.switches.waveshaper.run import shape

RATE = 11_025
Rows = np.ndarray[Any, np.dtype[Any]]
# Of each plug-in its name, its knobs and what else is set.
PLUGINS: dict[str, list[tuple[str, list[Any], dict[str, Any]]]] = {
    "compressor": [("Compressor", [], {"threshold_db": -30, "ratio": 8, "attack_ms": 2, "release_ms": 60})],
    "codec": [("GSMFullRateCompressor", [], {})],
    "knobs": [
        (
            "Compressor",
            [("threshold_db", -40, 0), ("ratio", 1, 8), ("attack_ms", 0.5, 50), ("release_ms", 10, 300)],
            {},
        ),
        ("LowShelfFilter", [("gain_db", -9, 9)], {"cutoff_frequency_hz": 150}),
        ("PeakFilter", [("cutoff_frequency_hz", 200, 2000), ("gain_db", -9, 9)], {"q": 0.7}),
        ("PeakFilter", [("gain_db", -9, 9)], {"cutoff_frequency_hz": 2500, "q": 0.7}),
        ("HighShelfFilter", [("gain_db", -9, 9)], {"cutoff_frequency_hz": 3500}),
        ("Gain", [("gain_db", -6, 6)], {}),
    ],
}


def box_of(task: str) -> hg.BlackBox:
    """Return the box of a task, from rows of sound, with a number in 0..1 for each knob before it, to rows of sound."""
    if task not in PLUGINS:
        return hg.BlackBox(gate if task == "gate" else partial(shape, task), batched=True)
    chain = [plugin(name, knobs, sample_rate=RATE, fixed=fixed) for name, knobs, fixed in PLUGINS[task]]

    def run(rows: Rows) -> Any:
        counts = [len(each.knobs) for each in chain]
        *knobs, sound = torch.from_numpy(rows).split([*counts, rows.shape[1] - sum(counts)], dim=1)
        sound = sound[:, None]
        for each, own in zip(chain, knobs, strict=True):
            sound = each(sound, own) if own.shape[1] else each(sound)
        return sound[:, 0]

    return hg.BlackBox(run, batched=True)


def gate(x: Rows, high: float = 0.25, low: float = 0.1, hold: int = 64) -> Rows:
    """Open where the peak of the last ``hold`` samples passes ``high``, close below ``low``; closed keeps a tenth."""
    peaks = np.lib.stride_tricks.sliding_window_view(np.pad(np.abs(x), [(0, 0), (hold - 1, 0)]), hold, axis=1).max(-1)
    decides = np.where((peaks > high) | (peaks < low), np.arange(x.shape[1]), 0)
    last = np.take_along_axis(peaks, np.maximum.accumulate(decides, axis=1), axis=1)
    return np.where(last > high, x, 0.1 * x)
