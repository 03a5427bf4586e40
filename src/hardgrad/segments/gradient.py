"""Learned thresholds as a policy: train a small switch whose points learn, and read them off."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hardgrad.approximators import mlp
from hardgrad.segments.rows import standardized, unit_of
from hardgrad.switch.arguments import real, whole
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.switch import Switch

MOST = 2**24  # so many numbers, and no more, torch.quantile takes


class Gradient:
    """A policy for ``search_ranges`` that learns the points by gradient descent, with networks as branches.

    It sees what a linear proxy cannot, costs a training run for each number of ranges and each round of the held-out
    criterion, and finds the nearest good points, not the best. Numbers are mapped to about [-1, 1].

    Args:
        branch: network of one range, x (B, d) to targets (B, o); a copy with new weights is made for each range.
            Default: a perceptron with 16 hidden units.
        steps: training steps, at least 1.
        batch: rows a step.
        lr: learning rate of the branches, for Adam; points, on a key mapped to [-1, 1], learn with a fifth of it.
        seed: of the initial weights and the batches; torch's global seed is left alone.

    Raises:
        TypeError: for a branch that is no module.
        ValueError: for steps or batch that are no whole numbers from 1, an lr that is not above 0 and finite, a
            negative seed, and, when it runs, for a branch that does not return a row of targets for a row of x.

    Example:
        >>> import torch, hardgrad as hg
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(1000, generator=g) * 2 - 1
        >>> policy = hg.segments.Gradient(torch.nn.Linear(1, 1), steps=300)
        >>> points = policy(x[:, None], x, torch.where(x < 0.3, x, 1.0)[:, None], 2)
        >>> abs(points[0] - 0.3) < 0.15
        True
    """

    def __init__(
        self, branch: nn.Module | None = None, *, steps: int = 600, batch: int = 256, lr: float = 0.02, seed: int = 0
    ) -> None:
        try:
            self.steps, self.batch = whole("Gradient", "steps", steps, 1), whole("Gradient", "batch", batch, 1)
        except ValueError:
            raise ValueError(
                f"Gradient: steps and batch must be at least 1, got {steps!r} and {batch!r}; both are whole numbers"
            ) from None
        if branch is not None and not isinstance(branch, nn.Module):
            raise TypeError(f"Gradient: branch must be a torch.nn.Module or None, got {type(branch).__name__}")
        self.branch = branch
        self.lr = real("Gradient", "lr", lr)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"Gradient: lr must be above 0 and finite, got {lr}")
        self.seed = whole("Gradient", "seed", seed, 0)

    def __call__(self, x: Tensor, key: Tensor, target: Tensor, ranges: int) -> Sequence[float]:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            x, key, target = (t.detach().clone().double() for t in (x, key, target))
            unit = unit_of(key)
            low, high = (float(end) for end in (key / unit).aminmax())
            u = ((key / unit - low) / (high - low) * 2 - 1).float()
            x, y = (standardized(columns)[0].float() for columns in (x, target))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                points = self._train(u, x, y, LearnedRanges([-1.0, *_start(u, ranges), 1.0], band=1.0))
        shares = [(point + 1) / 2 for point in points[1:-1]]
        return [(low * (1 - share) + high * share) * float(unit) for share in shares]

    def _train(self, u: Tensor, x: Tensor, y: Tensor, ranges: LearnedRanges) -> tuple[float, ...]:
        branch = copy.deepcopy(self.branch) if self.branch is not None else mlp(x.shape[1], y.shape[1], hidden=(16,))
        switch = Switch(ranges, branch.float().requires_grad_().train())
        groups = [
            {"params": switch.branches.parameters(), "lr": self.lr},
            {"params": ranges.parameters(), "lr": self.lr / 5},
        ]
        optimizer = torch.optim.Adam(groups)
        rates = [group["lr"] for group in optimizer.param_groups]
        for step in range(self.steps):
            left = 1 - step / self.steps
            ranges.band = 0.1 + 0.9 * left  # wide finds a point far off, narrow places it
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 2 * left)
            some = torch.randint(len(u), (self.batch,))
            y_hat = switch(x[some], u[some])
            if y_hat.shape != (self.batch, y.shape[1]):
                raise ValueError(
                    f"Gradient: branch must map x (B, {x.shape[1]}) to targets (B, {y.shape[1]}), got "
                    f"{tuple(y_hat.shape)} of {self.batch} rows"
                )
            loss = (y_hat - y[some]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return ranges.points


def _start(u: Tensor, ranges: int) -> list[float]:
    """Where the inner points start: equal counts, of the different keys where keys that repeat tie them, or evenly."""
    share = torch.linspace(0, 1, ranges + 1, dtype=torch.float64)
    for keys in (u.double(), u.double().unique(), torch.linspace(-1, 1, ranges + 1, dtype=torch.float64)):
        inner = torch.quantile(keys, share)[1:-1].tolist() if len(keys) < MOST else _of_sorted(keys, share)
        if all(a < b for a, b in itertools.pairwise([-1.0, *inner, 1.0])):
            break
    return inner


def _of_sorted(keys: Tensor, share: Tensor) -> list[float]:
    return keys.sort().values[(share[1:-1] * (len(keys) - 1)).round().long()].tolist()
