"""What the levels of a sound and of what a box makes of it look like, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FRAME_S = 0.01  # of one level
FLOOR_DB, DEEPEST_DB = -100.0, -50.0  # levels and gains below count as this much: silence, a shut gate
LIMIT = 10.0  # a ratio above which a compressor is a limiter
QUIET_DB = 60.0  # below the loudest frame: frames that are not looked at


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the levels of a dry and a wet sound look like.

    Args:
        kind: "gain", "curve", "compressor", "gate", or "" for none of these.
        gain_db: where nothing is turned down.
        threshold_db: of the level: from there a compressor, or below it a gate, turns down.
        ratio: of a compressor.
        range_db: that a gate takes off; the most that a compressor was seen to take off.
        memory_s: over which the level is taken that explains the gain best, besides the frame itself.
    """

    kind: str = ""
    gain_db: float = 0.0
    threshold_db: float = 0.0
    ratio: float = 1.0
    range_db: float = 0.0
    memory_s: float = 0.0

    def curve(self, level: Array) -> Array:
        """Return the level of the output in dB that was seen at levels in dB."""
        if self.kind == "compressor":
            return level + self.gain_db - (1 - 1 / self.ratio) * np.maximum(level - self.threshold_db, 0)
        return level + self.gain_db - self.range_db * (level < self.threshold_db)

    def notes(self) -> dict[str, Any]:
        """Return what ``model.json`` says of this."""
        said: dict[str, Any] = {"kind": self.kind, "gain_db": self.gain_db}
        if self.kind in ("compressor", "gate"):
            said |= {"threshold_db": self.threshold_db, "range_db": self.range_db}
        return said | ({"ratio": self.ratio} if self.kind == "compressor" else {})

    def said(self, tried: Collection[str] = ()) -> str:
        """Return what was seen, and what to try where it was not tried, in a sentence; empty where nothing was seen."""
        place = f"about {self.threshold_db:.0f} dB (RMS over {1000 * max(self.memory_s, FRAME_S):.0f} ms)"
        cure = "" if self.kind in tried else f"; try --memory {self.kind}"
        if self.kind == "gate":
            return f"the levels look like a gate's: below {place} about {self.range_db:.0f} dB are taken off{cure}"
        if self.kind != "compressor":
            return ""
        rises, ratio = f"rises by {1 / self.ratio:.2f} dB for each dB of the input", f"of about {self.ratio:.2g}"
        if self.ratio > LIMIT:
            rises, ratio = "hardly rises", f"above {LIMIT:g}"
        return (
            f"the levels look like a compressor's: above {place} the output {rises}, a ratio {ratio}, and up to "
            f"{self.range_db:.0f} dB are taken off{cure}"
        )


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels in dB of full scale, frame by frame, all (m,).

    Args:
        dry: root mean square, with the shape's memory.
        wet: the dry level, and the gain of the frame.
        ours: the same of a model.
        index: the range that a frame took; 0 for all where ranges change within frames.
        shape: what they look like.
    """

    dry: Array
    wet: Array
    ours: Array
    index: NDArray[np.int64]
    shape: Shape


def decibels(power: Array) -> Array:
    """Return mean squares as levels."""
    level: Array = np.maximum(10 * np.log10(np.maximum(power, 1e-20)), FLOOR_DB)
    return level
