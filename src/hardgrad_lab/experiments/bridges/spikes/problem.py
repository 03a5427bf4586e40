"""The spiking network, what its spikes lend, the pictures, and how often these are named right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data import mnist
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.drawn import Problem, Rows
from hardgrad_lab.experiments.bridges.trial import Trial

KEPT, PIXELS = 0.9, 28 * 28  # what a membrane keeps a step, and what a picture has
twins = hg.surrogate.twins
SHAPES: dict[str, Callable[[float], Callable[..., Tensor]]] = {  # by how many times wider than usual
    "fast-sigmoid": lambda wide: twins.fast_sigmoid(25 / wide),
    "triangle": twins.triangle,
    "rectangle": twins.rectangle,
    "gaussian": lambda wide: twins.gaussian(0.5 * wide),
    "leaky": lambda wide: twins.leaky(min(0.1 * wide, 1.0)),
    "arctan": lambda wide: twins.arctan(2 / wide),
    "sigmoid": lambda wide: twins.sigmoid(4 / wide),
}


def spike(trial: Trial) -> Callable[[Tensor], Tensor]:
    """Return what sends a spike where a membrane is at its threshold, here 0, with the gradient that is asked for."""
    if trial.contestant == "none":
        return hg.hard.step
    if trial.contestant == "bridge":
        return hg.Bridge(hg.hard.step, practiced(hg.approximators.elementwise(8, layers=1)))
    shape = SHAPES.get(trial.contestant)
    return hg.straight_through(hg.hard.step, soft=shape(trial.softness) if shape else None)


def practiced(network: nn.Module) -> nn.Module:
    """Return the network after it has learned a step of normal numbers: one that has not drives the membranes away."""
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(200):
        x = torch.randn(1000)
        adam.zero_grad()
        F.mse_loss(network(x), hg.hard.step(x)).backward()
        adam.step()
    return network


class Spiking(nn.Module):
    """Pictures (B, 784) to ten numbers and, last, spikes a neuron and step: (B, 11)."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        width, self.steps = trial.width, trial.size
        self.into, self.between, self.out = nn.Linear(PIXELS, width), nn.Linear(width, width), nn.Linear(width, 10)
        self.first, self.second = spike(trial), spike(trial)

    def forward(self, x: Tensor) -> Tensor:
        current = self.into(x)  # the same at every step
        one, two, sent, fired = current.new_zeros(4, *current.shape)  # membranes, and what they sent last
        count, gathered, said = current.new_zeros(len(x), 1), current.new_zeros(()), current.new_zeros(())
        for _ in range(self.steps):
            one = KEPT * one + current - sent.detach()
            sent = self.first(one - 1)
            two = KEPT * two + self.between(sent) - fired.detach()
            fired = self.second(two - 1)
            gathered = KEPT * gathered + self.out(fired)
            said, count = said + gathered, count + (sent + fired).detach().mean(-1, keepdim=True) / 2
        return torch.cat([said, count], -1) / self.steps


def pictures(images: Images, random: torch.Generator, rows: int) -> Rows:
    """Return pictures (rows, 784), from 0 to 1, drawn with replacement, and their classes."""
    chosen = torch.randint(len(images), (rows,), generator=random)
    return images.x[chosen].flatten(1) / 255, images.y[chosen]


def problem(trial: Trial, root: Root) -> Problem:
    """Return the rows, the network and its measures."""
    kind = mnist.MNIST if trial.task == "mnist" else mnist.FASHION
    images, tests, model = mnist.load(root, "train", kind), mnist.load(root, "test", kind), Spiking(trial)
    x, y = tests.x[: trial.test_rows].flatten(1) / 255, tests.y[: trial.test_rows]

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x)[:, :-1], y)

    def measure(said: Tensor, rows: int) -> dict[str, float]:
        right = said[:, :-1].argmax(-1) == y[:rows]
        return {"accuracy": right.double().mean().item(), "rate": said[:, -1].mean().item()}

    words = f"{images.what}; tested on {len(x):,} of {tests.what}"
    return Problem(model=model, make=partial(pictures, images), loss=loss, test=x, measure=measure, rows=words)
