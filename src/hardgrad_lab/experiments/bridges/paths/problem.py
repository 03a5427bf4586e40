"""Squares of digits, the network that says what cells cost, the gradient of its paths, and paths that cost least."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data import mnist
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.drawn import Problem, Rows
from hardgrad_lab.experiments.bridges.paths.grid import cheapest
from hardgrad_lab.experiments.bridges.trial import Trial

TILE = 14  # pixels of a cell, a digit at half its side


class Coster(nn.Module):
    """What each cell costs, (B, 1, 14 h, 14 w) -> (B, h, w), and what makes paths of costs in training, if it is asked.

    ``solved`` counts the rows that were solved, in a buffer, so that a checkpoint has it.
    """

    solved: Tensor

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        width = trial.width
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, TILE // 2, TILE // 2), nn.ReLU(), nn.Conv2d(4 * width, 1, 1),
        )  # fmt: skip
        self.register_buffer("solved", torch.zeros((), dtype=torch.int64))
        self.layer = self._layer(trial)

    def forward(self, x: Tensor) -> Tensor:
        costs: Tensor = self.net(x).squeeze(1).abs()  # what costs at least 0 is not pushed without end
        return costs

    def solve(self, cost: Tensor) -> Tensor:
        """Return cheapest paths, and count them."""
        self.solved += len(cost)
        return cheapest(cost)

    def _layer(self, trial: Trial) -> nn.Module | None:
        seen, name, t = hg.approximators.conv(1, 1, width=32, layers=4), trial.contestant, trial.softness
        layers: dict[str, Callable[[], nn.Module]] = {
            "identity": lambda: hg.straight_through(self.solve),
            "negative-identity": lambda: hg.straight_through(self.solve, hg.surrogate.twins.negative_identity("norm")),
            "interpolated": lambda: hg.interpolated(self.solve, t),
            "perturbed": lambda: hg.perturbed(self.solve, t, samples=trial.samples),
            "imle": lambda: hg.imle(self.solve, samples=trial.samples),
            "bridge": lambda: hg.Bridge(self.solve, nn.Sequential(nn.Unflatten(1, (1, -1)), *seen, nn.Flatten(1, 2))),
        }
        return layers[name]() if name in layers else None


def loss(trial: Trial, model: Coster, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of squares x whose cells cost y (B, h, w); all but spo-plus are shown the path alone."""
    cost, path = model(x), cheapest(y)
    if trial.contestant == "spo-plus":
        return hg.spo_plus(model.solve, cost, y).mean()
    if model.layer is None:
        return hg.fenchel_young(model.solve, cost, path, scale=trial.softness, samples=trial.samples).mean()
    found: Tensor = model.layer(cost)
    return (found - path).square().sum((1, 2)).mean()


def squares(images: Images, side: int, random: torch.Generator, rows: int) -> Rows:
    """Return pictures (rows, 1, 14 side, 14 side), from 0 to 1, and what their cells cost, (rows, side, side)."""
    chosen = torch.randint(len(images), (rows, side, side), generator=random)
    small = nn.functional.avg_pool2d(images.x[chosen].flatten(0, 3) / 255, 2).view(rows, side, side, TILE, TILE)
    return small.transpose(2, 3).reshape(rows, 1, side * TILE, side * TILE), 1.0 + images.y[chosen]


def problem(trial: Trial, root: Root) -> Problem:
    """Return the rows, the network and its measures."""
    images, tests, model = mnist.load(root, "train"), mnist.load(root, "test"), Coster(trial)
    x, y = squares(tests, trial.size, torch.Generator().manual_seed(0), trial.test_rows)
    least = (cheapest(y) * y).sum((1, 2))

    def measure(costs: Tensor, rows: int) -> dict[str, float]:
        spent = (cheapest(costs) * y[:rows]).sum((1, 2))
        return {
            "optimal": (spent <= least[:rows]).double().mean().item(),
            "regret": (spent.sum() / least[:rows].sum()).item() - 1,
            "solved": model.solved.item(),
        }

    words = f"squares of {images.what}; tested on {trial.test_rows:,} of {tests.what}"
    make, learned = partial(squares, images, trial.size), partial(loss, trial, model)
    return Problem(model=model, make=make, loss=learned, test=x, measure=measure, rows=words)
