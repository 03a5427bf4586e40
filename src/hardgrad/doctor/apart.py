"""Whether copies of a batch may go through a candidate as one larger batch, and how many.

A candidate may share something among the rows of a batch: a mean as baseline, a normalization, a rank. It is then
another candidate on a larger batch, and must be judged on the user's own. Whether it is so is not asked by its name but
tried: one copy of the batch alone, and the same copy with the same random numbers among others that are moved, whose
values are scaled and shifted, and whose gradients are weighed. If its gradient stays what it was, the copies are apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.doctor.others import Others
from hardgrad.doctor.randomness import seed_of, seeded
from hardgrad.doctor.scripted import Scripted
from hardgrad.doctor.smoothed import LARGEST
from hardgrad.doctor.subject import Subject

_WIDTH = 128  # numbers that a network may keep for each row, however small the row
# Copies in a trial. Few other sizes are a multiple of these, which is how a dimension of copies is told from others.
_STACKS = (7, 11, 13, 5, 3, 2)
_CLOSE = 1e-3  # relative; single precision sums rows of another number of copies in another order


class Trial(NamedTuple):
    """Where the copy stands, and what is done to the others: to values, in units of the largest, and to x, of noise."""

    place: float
    factor: float
    shift: float
    move: float


_TRIALS = (Trial(0.0, -3.0, 10.0, 1.0), Trial(0.5, 10.0, -10.0, 3.0), Trial(1.0, 0.1, 1.0, 0.1))


def copies_at_once(subject: Subject, seed: int) -> int:
    """Return how many copies of the batch may go through the candidate as one larger batch; 1 if it shares among rows.

    Args:
        subject: the candidate.
        seed: of the trials.

    Raises:
        Exception: whatever the candidate raises at the batch itself.
    """
    with seeded(seed, subject.smoothed.x.device) as generator:
        return _copies_at_once(subject, seed_of(seed, "script") % 2**40, generator)


def _copies_at_once(subject: Subject, seed: int, generator: torch.Generator) -> int:
    smoothed = subject.smoothed
    before, noise = subject.rows_evaluated(), smoothed.noise(1, generator)
    with Scripted(seed, smoothed.x.device, smoothed.rows):
        alone = subject.gradients(subject.fresh(), noise)[0]
    evaluations = max((subject.rows_evaluated() - before) // smoothed.rows, 1)
    most = LARGEST // max(smoothed.rows * _WIDTH, smoothed.x.numel() * evaluations)
    stack = _stack(smoothed.x, smoothed.rows, most)
    if not stack or not bool(alone.isfinite().all()):
        return 1
    eps, largest = smoothed.rounding, float(alone.abs().max())
    rtol, atol = max(_CLOSE, 4 * eps), max(1e-5, eps) * largest
    for trial in _TRIALS:
        for gradient in _among(subject, noise, stack, trial, seed, generator):
            if gradient is None or not torch.allclose(gradient, alone[0], rtol=rtol, atol=atol):
                return 1
    return most


def _stack(x: Tensor, rows: int, most: int) -> int:
    """How many copies a trial takes: the first number that is not to be confused with a size of the event."""
    sizes = x.shape[1:]
    fitting = [n for n in _STACKS if n <= most]
    return next((n for n in fitting if all(size % (n * rows) for size in sizes)), fitting[0] if fitting else 0)


def _among(
    subject: Subject, own: Tensor, stack: int, trial: Trial, seed: int, generator: torch.Generator
) -> Iterator[Tensor | None]:
    """Yield the gradient of one copy among others; None where it cannot be had.

    Random numbers that all copies share must not matter, or the copies are not independent: the gradient of the copy
    alone with other such numbers is yielded as well.
    """
    smoothed = subject.smoothed
    kept = round(trial.place * (stack - 1))
    noise = smoothed.noise(stack, generator)
    moves = trial.move * smoothed.noise(stack, generator)
    noise[kept], moves[kept] = own[0], 0
    others = Others(stack, kept, moves, trial.factor, trial.shift * (1 + smoothed.scale))
    try:
        with Scripted(seed, smoothed.x.device, smoothed.rows, stack, kept) as script:
            gradient = subject.gradients(subject.fresh(), noise, others)[0][kept]
        yield None if script.failed else gradient
        if script.shared:
            with Scripted(seed, smoothed.x.device, smoothed.rows, others=frozenset(script.shared)):
                yield subject.gradients(subject.fresh(), own)[0][0]
    except Exception:  # the user's own code may be written for this batch alone, and raise anything
        yield None
