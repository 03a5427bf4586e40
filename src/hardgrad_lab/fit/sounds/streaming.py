"""A sound predicted block by block, in memory that does not grow with its length, bit for bit as all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import gcd

import numpy as np
import torch

from hardgrad_lab.devices.device import Device
from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.rows import Array, Rows
from hardgrad_lab.fit.training.forward import forward, rows_at_once
from hardgrad_lab.fit.training.stacks import stacks_of

STEP = 16_384  # samples of each channel that a device hears at a time
SUPPORT = 10  # samples of the lower rate that scipy's resampling filter reaches, either way


@dataclass
class Tally:
    """What is counted while a sound is predicted.

    Args:
        visits: samples that each range took, all channels together.
        outside: samples below the first point or above the last.
    """

    visits: list[int] = field(default_factory=list)
    outside: int = 0


def overlapping(blocks: Iterable[Array], size: int, back: int, ahead: int = 0) -> Iterator[tuple[Array, int, int]]:
    """Cut a stream anew, each part with what comes before and after it.

    Args:
        blocks: (m, C) each, of any lengths.
        size: rows of a part; the last may have fewer.
        back: rows before a part that come with it, fewer at the beginning.
        ahead: rows after it, fewer at the end.

    Returns:
        The rows of each part with those around it, how many come before, and how many the part has.
    """
    buffer: Array | None = None
    before, ended = 0, False
    stream = iter(blocks)
    while True:
        while not ended and (buffer is None or len(buffer) < before + size + ahead):
            block = next(stream, None)
            if block is None:
                ended = True
            else:
                buffer = block if buffer is None or not len(buffer) else np.concatenate([buffer, block])
        if buffer is None or len(buffer) == before:
            return
        count = min(size, len(buffer) - before)
        yield buffer[: before + count + ahead], before, count
        drop = max(0, before + count - back)
        buffer, before = buffer[drop:], before + count - drop


def predict_stream(
    model: SwitchRegressor, blocks: Iterable[Array], tally: Tally, knob: float | None = None
) -> Iterator[Array]:
    """Yield predictions of a stream of sound, (m, C) as it comes in; each channel is a recording of its own.

    The network sees the rows in the same steps, counted from the first sample, as ``model.predict`` takes them: the
    last bits of a matrix product depend on how many rows it has.

    Args:
        model: fitted to sounds.
        blocks: (m, C) each, of any lengths.
        tally: is counted in.
        knob: where it stands, for a model whose key it is.
    """
    stacks, window = stacks_of(model.network_), model.architecture_.window
    step = rows_at_once(window) if stacks is None else stacks.rows_at_once
    low, high = model.points_[0], model.points_[-1]
    tally.visits = [0] * len(model.ranges_)
    for samples, before, count in overlapping(blocks, step, window - 1):
        chosen = torch.arange(before, before + count)
        channels = []
        for channel in samples.T:
            rows = _rows(model, channel, knob)
            key = rows.key.numpy()[before:]
            if stacks is not None:
                outputs, sizes = stacks.run(rows, chosen)
            else:
                outputs, index = forward(model.network_, rows, chosen), model.ranges_.index(rows.key[before:])
                sizes = torch.bincount(index, minlength=len(tally.visits)).tolist()
            channels.append(model.target_scaling_.back(outputs.numpy())[:, 0])
            tally.visits = [a + b for a, b in zip(tally.visits, sizes, strict=True)]
            if key.min() < low or key.max() > high:
                tally.outside += int(((key < low) | (key > high)).sum())
        yield channels[0][:, None] if len(channels) == 1 else np.stack(channels, axis=1)


def _rows(model: SwitchRegressor, channel: Array, knob: float | None) -> Rows:
    """Return the rows of one channel (n,), as ``model.as_rows`` makes them; that a sample is a number is known."""
    columns = channel[:, None] if knob is None else np.stack([channel, np.full(len(channel), knob)], axis=1)
    return Rows(
        columns=torch.from_numpy(model.scaling_.to(columns[:, model.inputs_])),
        key=torch.from_numpy(np.ascontiguousarray(columns[:, model.key_])),
        first=torch.zeros(1, dtype=torch.int64).expand(len(channel)),
        window=model.architecture_.window,
        raw=model.architecture_.raw,
    )


def device_stream(device: Device, blocks: Iterable[Array], knob: float | None = None) -> Iterator[Array]:
    """Yield what a device makes of a stream of sound, (m, C) as it comes in; the state of each channel is handed on.

    Args:
        device: each channel goes through one of its own.
        blocks: (m, C) each, of any lengths; it sees them in steps counted from the first sample.
        knob: where it stands, for a device that has one.
    """
    state = None
    for samples, _, _ in overlapping(blocks, STEP, 0):
        x = torch.from_numpy(samples.T.astype(np.float32))
        with torch.no_grad():
            y, state = device(x, state, None if knob is None else torch.full((len(x),), knob))
        yield y.double().numpy().T


def resampled(blocks: Iterable[Array], rate: int, wanted: int) -> Iterator[Array]:
    """Yield a stream of sound at another rate, as ``scipy.signal.resample_poly`` makes it of the whole.

    Args:
        blocks: (m, C) each.
        rate: that they have, in Hz.
        wanted: that they shall have; n samples become ceil(n wanted / rate).
    """
    from scipy.signal import resample_poly

    shared = gcd(rate, wanted)
    up, down = wanted // shared, rate // shared
    reach = SUPPORT * max(up, down) // up + 1
    context = -(-reach // down) * down
    size = max(1, 65_536 // down) * down
    for samples, before, count in overlapping(blocks, size, context, context):
        made: Array = resample_poly(samples, up, down, axis=0)
        yield made[before * up // down : -(-(before + count) * up // down)]


def first_samples(blocks: Iterable[Array], n: int) -> Iterator[Array]:
    """Yield a stream up to its n-th sample."""
    left = n
    for block in blocks:
        if left <= 0:
            return
        yield block[:left]
        left -= len(block)
