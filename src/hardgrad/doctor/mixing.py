"""An objective that mixes samples or rows: the truth is then asked of it as training would, one batch at a time.

Enumeration, differences and long runs hand over many samples of the batch at once, and take every row's gradient from
its own number. A normalization inside the function makes that another function: over samples, it sees other batches
than training shows it; over rows, a row's number moves with the logits of the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Independent

from hardgrad.doctor.randomness import seeded
from hardgrad.doctor.scripted import Scripted
from hardgrad.doctor.smoothed import Smoothed

_STACK = 7
_WIDTHS = (1.0, 3.0)  # of the noise that samples are made by


class Mixing(NamedTuple):
    """What a function mixes.

    Args:
        samples: along its leading dimension.
        rows: within the batch.
    """

    samples: bool
    rows: bool


APART = Mixing(False, False)


def mixing_of(smoothed: Smoothed, seed: int) -> Mixing:
    """Return what the function mixes, found by trying: a sample among others, a row beside other rows.

    Args:
        smoothed: the objective.
        seed: of the samples, and of what the function itself draws.
    """
    with torch.no_grad(), seeded(seed, smoothed.x.device) as generator:
        tried = _Tried(smoothed, seed % 2**40)
        samples = [smoothed.sample(smoothed.x + wide * smoothed.noise(_STACK + 1, generator)) for wide in _WIDTHS]
        if not tried.close(tried.alone(samples[0][:1]), tried.alone(samples[0][:1])):
            return APART  # it draws numbers that torch knows nothing of: no telling
        return Mixing(any(map(tried.mixes_samples, samples)), any(map(tried.mixes_rows, samples)))


class _Tried:
    """A function under trial; samples are ``(copies, *batch, *event)``, of which the first is looked at."""

    def __init__(self, smoothed: Smoothed, seed: int) -> None:
        self.smoothed, self.seed = smoothed, seed

    def alone(self, one: Tensor) -> Tensor:
        with Scripted(self.seed, self.smoothed.x.device, self.smoothed.rows):
            return self.smoothed.values(one)

    def mixes_samples(self, b: Tensor) -> bool:
        alone = self.alone(b[:1])[0]
        for kept in (0, _STACK // 2, _STACK - 1):
            stack = b[1:].clone()
            stack[kept] = b[0]
            try:
                with Scripted(self.seed, self.smoothed.x.device, self.smoothed.rows, _STACK, kept):
                    among = self.smoothed.values(stack)[kept]
            except Exception:  # of the function's own: written for one sample
                return True
            if not self.close(among, alone):
                return True
        return False

    def mixes_rows(self, b: Tensor) -> bool:
        """Whether the values of every second row move when the others are drawn anew."""
        batch = self.smoothed.batch_shape
        if batch.numel() < 2:
            return False
        flat = b.flatten(1, len(batch))
        before = self.alone(b[:1]).flatten()
        for first in (0, 1):
            rows = flat[0].clone()
            rows[first::2] = flat[1][first::2]
            after = self.alone(rows.unflatten(0, batch).unsqueeze(0)).flatten()
            if not self.close(after[1 - first :: 2], before[1 - first :: 2]):
                return True
        return False

    def close(self, values: Tensor, expected: Tensor) -> bool:
        close = max(1e-4, 4 * self.smoothed.rounding)
        return torch.allclose(values, expected, rtol=close, atol=0.1 * close * float(expected.abs().max()))


def for_truth(smoothed: Smoothed, mixing: Mixing) -> Smoothed:
    """Return the objective as the truth is to be asked of it: one sample at a time, the batch as one row."""
    if mixing.samples:
        smoothed = _one_by_one(smoothed)
    return _joined(smoothed) if mixing.rows else smoothed


def _one_by_one(smoothed: Smoothed) -> Smoothed:
    """Hands the user's function one sample of the batch at a time."""

    def f(b: Tensor) -> Tensor:
        return torch.cat([smoothed.values(one.unsqueeze(0)) for one in b])

    return replace(smoothed, f=f, bare=False)


def _joined(smoothed: Smoothed) -> Smoothed:
    """The whole batch as one row, whose number is the sum over rows."""
    batch = len(smoothed.batch_shape)
    return replace(
        smoothed,
        batch_shape=torch.Size(),
        event_shape=smoothed.batch_shape + smoothed.event_shape,
        distribution=lambda x: Independent(smoothed.distribution(x), batch),
        f=lambda b: smoothed.f(b).flatten(-batch).sum(-1),
    )
