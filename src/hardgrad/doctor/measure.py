"""Many gradients of one candidate, summed in independent groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.doctor.randomness import seeded
from hardgrad.doctor.smoothed import LARGEST
from hardgrad.doctor.subject import Subject
from hardgrad.doctor.truth import GROUPS

_WIDTH = 128  # numbers that a network may keep for each row, however small the row


@dataclass(frozen=True)
class Draws:
    """What is kept of many gradients.

    Args:
        count: how many, each of the whole batch.
        groups: their means in independent groups, double precision, shape ``(GROUPS, *x.shape)``.
        moved: in how many gradients each coordinate was not zero, shape of x.
        variance: of one gradient, summed over coordinates.
        cosine_of_one: mean cosine of a single gradient with the reference, 0 for a gradient of zeros.
        learns: whether the candidate has a penalty to learn from.
    """

    count: int
    groups: Tensor
    moved: Tensor
    variance: float
    cosine_of_one: float
    learns: bool

    @property
    def mean(self) -> Tensor:
        return self.groups.mean(0)

    @property
    def zeros(self) -> float:
        """Share of exact zeros among all coordinates of all gradients."""
        return 1 - float(self.moved.mean()) / self.count


@torch.no_grad()
def draw(subject: Subject, count: int, reference: Tensor, seed: int) -> Draws:
    """Take gradients and return what is kept of them.

    Args:
        subject: the candidate.
        count: how many, rounded up to a multiple of ``GROUPS``, so that all groups weigh the same.
        reference: the truth, shape of x.
        seed: of all randomness.

    Raises:
        ValueError: if a gradient holds NaN or infinity; and whatever the candidate raises.
    """
    each = -(-count // GROUPS)
    sums, aligned, squares, learns = [], 0.0, 0.0, False
    unit = reference.flatten() / reference.norm().clamp(min=torch.finfo(torch.float64).tiny)
    x = subject.smoothed.x
    moved = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
    with seeded(seed, x.device) as generator:
        at_once = min(_copies_at_once(subject, generator), each)
        for _ in range(GROUPS):
            total = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
            for first in range(0, each, at_once):
                # A copy for each chunk: a running average, say, stands where the caller left it.
                noise = subject.smoothed.noise(min(at_once, each - first), generator)
                gradient, bag = subject.gradients(subject.fresh(), noise)
                g = gradient.flatten(1).double()
                _check_finite(g, subject.name)
                norm = g.norm(dim=1)
                aligned += float((g @ unit / torch.where(norm > 0, norm, 1)).sum())
                squares += float(norm.square().sum())
                moved += (g != 0).sum(0)
                learns = learns or len(bag) > 0
                total += g.sum(0)
            sums.append(total / each)
    n, groups = each * GROUPS, torch.stack(sums)
    variance = max(squares - n * float(groups.mean(0).square().sum()), 0.0) / (n - 1)
    return Draws(n, groups.view(GROUPS, *x.shape), moved.view(x.shape), variance, aligned / n, learns)


def _copies_at_once(subject: Subject, generator: torch.Generator) -> int:
    """How many copies of the batch go through the candidate as one larger batch; 1 where that is not the same.

    Raises:
        Exception: whatever the candidate raises at the batch itself.
    """
    noise = subject.smoothed.noise(2, generator)
    before, rows = subject.rows_evaluated(), subject.smoothed.rows
    alone = subject.gradients(subject.fresh(), noise[:1])[0]
    _check_finite(alone.flatten(1), subject.name)
    evaluations = max((subject.rows_evaluated() - before) // rows, 1)
    try:
        together = subject.gradients(subject.fresh(), noise)[0]
    except Exception:  # the user's own code may be written for this batch alone, and raise anything
        return 1
    # A layer that normalises over the batch gives other gradients there. An estimator draws its own noise: no telling.
    if subject.is_layer and not torch.allclose(together[:1], alone, rtol=1e-3, atol=1e-6 * float(alone.abs().max())):
        return 1
    return max(LARGEST // max(rows * _WIDTH, subject.smoothed.x.numel() * evaluations), 1)


def _check_finite(gradients: Tensor, name: str) -> None:
    bad = 1 - float(gradients.isfinite().all(1).double().mean())
    if bad:
        raise ValueError(f"{name}: {bad:.1%} of its gradients hold NaN or infinity")
