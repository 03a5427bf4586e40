"""Learnt thresholds as a policy: train a small switch whose points learn, and read them off."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hardgrad.approximators import mlp
from hardgrad.switch.switch import Switch
from hardgrad.switch.thresholds.learnt import LearntRanges


class Gradient:
    """A policy for ``search_ranges`` that learns the points by gradient descent, with networks as branches.

    It sees what a linear proxy cannot, costs a training run for each number of ranges and each round of the held-out
    criterion, and finds the nearest good points, not the best. Key, inputs and targets are mapped to about [-1, 1].

    Args:
        branch: network of one range, inputs (B, d) to targets (B, o); a copy with new weights is made for each range.
            Default: a perceptron with 16 hidden units.
        steps: training steps, at least 1.
        batch: rows a step.
        lr: learning rate of the branches, for Adam; points, on a key mapped to [-1, 1], learn with a fifth of it.
        seed: of the initial weights and the batches; torch's global seed is left alone.

    Example:
        >>> import torch, hardgrad as hg
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(1000, generator=g) * 2 - 1
        >>> policy = hg.switch.Gradient(torch.nn.Linear(1, 1), steps=300)
        >>> points = policy(x, x[:, None], torch.where(x < 0.3, x, 1.0)[:, None], 2)
        >>> abs(points[0] - 0.3) < 0.15
        True
    """

    def __init__(
        self, branch: nn.Module | None = None, *, steps: int = 600, batch: int = 256, lr: float = 0.02, seed: int = 0
    ) -> None:
        if steps < 1 or batch < 1:
            raise ValueError(f"Gradient: steps and batch must be at least 1, got {steps} and {batch}")
        self.branch = branch
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.seed = seed

    def __call__(self, key: Tensor, inputs: Tensor, targets: Tensor, ranges: int) -> Sequence[float]:
        low, high = key.aminmax()
        u = ((2 * key - low - high) / (high - low)).float()
        x, y = _standard(inputs), _standard(targets)
        start = torch.quantile(u.double(), torch.linspace(0, 1, ranges + 1, dtype=torch.float64))[1:-1].tolist()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            points = self._train(u, x, y, LearntRanges([-1.0, *start, 1.0], band=1.0))
        return [float((point * (high - low) + low + high) / 2) for point in points[1:-1]]

    def _train(self, u: Tensor, x: Tensor, y: Tensor, ranges: LearntRanges) -> tuple[float, ...]:
        branch = copy.deepcopy(self.branch) if self.branch is not None else mlp(x.shape[1], y.shape[1], hidden=(16,))
        switch = Switch(ranges, branch)
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
            loss = (switch(x[some], u[some]) - y[some]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return ranges.points


def _standard(columns: Tensor) -> Tensor:
    scale = columns.std(0)
    return ((columns - columns.mean(0)) / torch.where(scale > 0, scale, 1.0)).float()
