"""Whether the levels of a pair of sounds are those of one gain, a compressor, a gate, or a curve without memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad_lab.devices.recordings import Recording as Take
from hardgrad_lab.devices.simple import Filter
from hardgrad_lab.fit.page.levels import DEEPEST_DB, FRAME_S, QUIET_DB, Array, Levels, Shape, decibels

Recording = tuple[Array, Array, Array, NDArray[np.int64]]
MEMORY_S = (0.0, 0.03, 0.1, 0.3)  # over which a detector may take its level
MOST = 6000  # frames looked at: a minute
FEWEST = 60
BINS, TAPS = 256, 32  # of a curve without memory, and of a filter before it
SURE, CLOSER = 0.4, 0.7  # of the gain's variance, and of what a curve without memory leaves, that may be left
ALIKE = 0.8  # of a frame's energy that one gain must explain: else it is not the dry sound, only louder or softer
WHOLE = 0.9  # of the samples that must be in the range of their frame
PURE = 0.99  # of it, where a box does nothing but that
STEADY = 0.1  # dB^2 of a gain that does not change
STEEPEST = 1.1  # dB that the gain falls by for each dB of the level: a limiter's, measured
LEAST_RATIO, LEAST_REDUCTION_DB, LEAST_JUMP_DB = 1.15, 1.5, 6.0


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Mean squares (m,) of frames: dry, wet, of a model, of the best curves; and the mean of dry times wet."""

    dry: Array
    wet: Array
    ours: Array
    curved: tuple[Array, Array]
    cross: Array
    begins: Sequence[int]
    index: NDArray[np.int64]


def levels_of(recordings: Sequence[Recording], rate: int) -> Levels | None:
    """Return what the levels of recordings look like; None for too few of them.

    In decibels, a compressor's gain is a line that falls from a threshold on, and a gate's is a step. A curve without
    memory, such as a clipper's, gives such gains as well, also behind a filter; so the level must explain the gain
    better than the best such curves do, and a frame of the wet sound must be the dry one times a number.

    Args:
        recordings: dry, wet and predicted samples of each, and the range of each sample, all (n,).
        rate: samples a second.
    """
    frames = _frames(recordings, max(8, round(FRAME_S * rate)))
    if frames is None:
        return None
    gain, ours = _gain(frames.wet, frames.dry), _gain(frames.ours, frames.dry)
    use = frames.dry > frames.dry.max() * 10 ** (-QUIET_DB / 10)
    if use.sum() < FEWEST or not frames.wet.any():
        return None
    levels = [_level(frames, memory) for memory in MEMORY_S]
    found = [_shape(level[use], gain[use], memory) for level, memory in zip(levels, MEMORY_S, strict=True)]
    best = int(np.argmin([left for _, left in found]))
    level, heard = levels[best], use & (gain > DEEPEST_DB / 2)
    alike = np.quantile(frames.cross[heard] ** 2 / (frames.dry * frames.wet)[heard], 0.25) if heard.any() else 0.0
    other = min(float(np.square(gain - _gain(each, frames.dry))[use].mean()) for each in frames.curved)
    return Levels(
        dry=level[use],
        wet=(level + gain)[use],
        ours=(level + ours)[use],
        index=frames.index[use],
        shape=Shape() if alike < ALIKE else _judged(*found[best], gain[use], other, pure=bool(alike > PURE)),
    )


def _judged(shape: Shape, left: float, gain: Array, other: float, *, pure: bool) -> Shape:
    """Return the shape, or a simpler one that does; none where it leaves too much or takes off too little."""
    spread = float(gain.var())
    if spread < STEADY:
        return Shape(kind="gain", gain_db=float(gain.mean())) if pure else Shape()
    if other < STEADY * spread and other < left:
        return Shape(kind="curve")
    small = shape.range_db < (LEAST_JUMP_DB if shape.kind == "gate" else LEAST_REDUCTION_DB)
    flat = shape.kind == "compressor" and shape.ratio < LEAST_RATIO
    return Shape() if left > min(SURE * spread, CLOSER * other) or small or flat else shape


def _frames(recordings: Sequence[Recording], size: int) -> Frames | None:
    share, cut, begins = MOST // max(1, len(recordings)), [], [0]
    for recording in recordings:
        count = min(len(recording[0]) // size, share)
        skip = (len(recording[0]) - count * size) // 2
        cut.append([part[skip : skip + count * size].reshape(-1, size) for part in recording])
        begins.append(begins[-1] + count)
    dry, wet, ours, index = (np.concatenate(each) for each in zip(*cut, strict=True))
    if len(dry) < FEWEST:
        return None
    return Frames(
        dry=_power(dry),
        wet=_power(wet),
        ours=_power(ours),
        curved=(_power(_curved(dry, wet)), _power(_curved(_filtered(dry, wet), wet))),
        cross=(dry * wet).mean(axis=1),
        begins=begins,
        index=_index(index),
    )


def _power(frames: Array) -> Array:
    power: Array = np.square(frames).mean(axis=1)
    return power


def _filtered(dry: Array, wet: Array) -> Array:
    """Return the dry sound through the short filter that brings it nearest to the wet one, soft frames as loud ones."""
    loud = np.sqrt(_power(dry))[:, None] + 1e-9
    x, u, v = (torch.from_numpy(np.float32(each.ravel())) for each in (dry, dry / loud, wet / loud))
    device = Filter(rate=1, taps=TAPS)
    device.solve([Take(dry=u, wet=v)])
    with torch.no_grad():
        made: Array = device(x[None])[0][0].double().numpy()
    return made.reshape(dry.shape)


def _index(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the range of each frame, (m,); 0 for all where ranges change within them, so that none has a range."""
    middle = np.sort(index, axis=1)[:, index.shape[1] // 2]
    return middle if (index == middle[:, None]).mean() > WHOLE else np.zeros_like(middle)


def _gain(power: Array, dry: Array) -> Array:
    return np.maximum(decibels(power) - decibels(dry), DEEPEST_DB)


def _curved(dry: Array, wet: Array) -> Array:
    """Return what the best curve without memory, lines between quantiles of the input, makes of the dry sound."""
    x, y = dry.ravel(), wet.ravel()
    edges = np.unique(np.quantile(x[:: max(1, len(x) // 100_000)], np.linspace(0, 1, BINS + 1)))[1:-1]
    place = np.searchsorted(edges, x, side="right")
    n, sx, sy, sxx, sxy = (np.bincount(place, each, len(edges) + 1) for each in (np.ones_like(x), x, y, x * x, x * y))
    n = np.maximum(n, 1)
    slope = (sxy - sx * sy / n) / np.maximum(sxx - sx * sx / n, 1e-12)
    made: Array = (sy / n)[place] + slope[place] * (x - (sx / n)[place])
    return made.reshape(dry.shape)


def _level(frames: Frames, memory: float) -> Array:
    from scipy.signal import lfilter

    keep = np.exp(-FRAME_S / memory) if memory else 0.0
    pieces = np.split(frames.dry, frames.begins[1:-1])
    return np.concatenate([decibels(np.asarray(lfilter([1 - keep], [1, -keep], piece))) for piece in pieces])


def _shape(level: Array, gain: Array, memory: float) -> tuple[Shape, float]:
    """Return the line that falls from a threshold, or the step, that fits the gains best; and what it leaves."""
    best, least = Shape(), float(gain.var())
    for threshold in map(float, np.unique(np.quantile(level, np.linspace(0.02, 0.98, 97)))):
        for way in (_bend, _step):
            facts, made = way(level - threshold, gain)
            left = float(np.square(gain - made).mean())
            if facts and left < least:
                best, least = Shape(threshold_db=threshold, memory_s=memory, **facts), left
    return best, least


def _bend(over: Array, gain: Array) -> tuple[dict[str, Any], Array]:
    above = np.maximum(over, 0)
    part = above - above.mean()
    slope = float(-(part @ gain) / max(part @ part, 1e-12))
    base = float(gain.mean() + slope * above.mean())
    ratio, deepest = 1 / max(1 - slope, 0.02), slope * float(np.quantile(above, 0.99))
    facts = {"kind": "compressor", "gain_db": base, "range_db": deepest, "ratio": ratio}
    return facts if 0 < slope < STEEPEST else {}, base - slope * above


def _step(over: Array, gain: Array) -> tuple[dict[str, Any], Array]:
    under = over < 0
    if not 0 < under.sum() < len(under):
        return {}, gain
    high, low = float(gain[~under].mean()), float(gain[under].mean())
    facts = {"kind": "gate", "gain_db": high, "range_db": high - low}
    return facts if high > low else {}, np.where(under, low, high)
