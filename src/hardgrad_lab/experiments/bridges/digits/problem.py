"""Sequences of numbers, the network that scores them, what its scores learn from, and orders that come out right."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data import mnist
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.drawn import Problem, Rows
from hardgrad_lab.experiments.bridges.trial import Trial

PLACES, TINY = 4, 1e-6  # digits of a number; a share that no logarithm minds


class Scorer(nn.Module):
    """One score a picture, (..., 1, 28, 112) -> (...), and what makes ranks of scores in training, if anything does."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        width, n = trial.width, trial.size
        self.net = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(1, width, 5, 2, 2), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * width * 4 * 14, 64), nn.ReLU(), nn.Linear(64, 1),
        )  # fmt: skip
        self.layer: nn.Module | None = None
        if trial.contestant.startswith("exact-"):
            self.layer = hg.straight_through(hg.hard.rank, soft=partial(hg.soft.rank, **soft(trial)))
        if trial.contestant == "bridge":  # ranks know neither where scores lie nor how wide
            alike = nn.LayerNorm(n, elementwise_affine=False)
            self.layer = hg.Bridge(hg.hard.rank, nn.Sequential(alike, *hg.approximators.mlp(n, n, hidden=(64, 64))))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net(x.flatten(0, -4)).view(x.shape[:-3])
        return scores


def soft(trial: Trial) -> dict[str, Any]:
    """Return the arguments of a relaxation: where its value counts, the network finds its own scale."""
    name = trial.contestant.removeprefix("exact-")
    return {"temperature": trial.softness, "method": name, "relative": name != trial.contestant}


def loss(trial: Trial, model: Scorer, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of sequences x (B, n, 1, 28, 112) whose numbers are y (B, n)."""
    scores, order = model(x), y.argsort(-1)
    if trial.contestant == "pairs":
        above = (y[:, :, None] > y[:, None, :]).to(scores.dtype)
        return (above * F.softplus(scores[:, None, :] - scores[:, :, None])).sum() / above.sum()
    if model.layer is None and trial.contestant != "permutahedron":
        return -(hg.soft.permutation(scores, **soft(trial)).gather(-1, order[..., None]) + TINY).log().mean()
    ranks = hg.soft.rank(scores, **soft(trial)) if model.layer is None else model.layer(scores)
    return F.mse_loss(ranks, order.argsort(-1).to(ranks.dtype))


def numbers(images: Images, n: int, random: torch.Generator, rows: int) -> Rows:
    """Return sequences of pictures (rows, n, 1, 28, 112), from 0 to 1, and their numbers (rows, n)."""
    chosen = torch.randint(len(images), (rows, n, PLACES), generator=random)
    side_by_side = images.x[chosen].movedim(2, -2).flatten(-2) / 255
    return side_by_side, (images.y[chosen] * 10 ** torch.arange(PLACES - 1, -1, -1)).sum(-1)


def problem(trial: Trial, root: Root) -> Problem:
    """Return the rows, the network and its measures."""
    images, tests, model = mnist.load(root, "train"), mnist.load(root, "test"), Scorer(trial)
    x, y = numbers(tests, trial.size, torch.Generator().manual_seed(0), trial.test_rows)

    def measure(scores: Tensor, rows: int) -> dict[str, float]:
        same = (scores.argsort(-1) == y[:rows].argsort(-1)).double()
        return {"exact": same.amin(-1).mean().item(), "element": same.mean().item()}

    words = f"sequences of {images.what}; tested on {trial.test_rows:,} of {tests.what}"
    make, learned = partial(numbers, images, trial.size), partial(loss, trial, model)
    return Problem(model=model, make=make, loss=learned, test=x, measure=measure, rows=words)
