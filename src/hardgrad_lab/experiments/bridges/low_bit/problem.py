"""Pictures of CIFAR-10, the residual network, and what makes few bits of its weights and activations."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

import hardgrad as hg
from hardgrad_lab.data import cifar10
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.drawn import Problem, Rows
from hardgrad_lab.experiments.bridges.trial import Trial


def quantizer(trial: Trial, weight: bool) -> nn.Module:
    """Return what makes few bits of a weight, or of activations that are not negative."""
    if trial.contestant == "full":
        return nn.Identity()
    if trial.contestant == "pact":
        return hg.LearnedClip(trial.size, weight)
    layer = hg.LearnedScale(trial.size, weight)
    if trial.contestant == "lsq":
        return layer
    layer.scale.requires_grad_(False)
    if trial.contestant == "straight-through":
        return layer
    return hg.Bridge(layer, hg.approximators.elementwise(8, layers=1), weight=trial.softness)


def convolution(trial: Trial, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a convolution with its batch norm, of few bits."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    if trial.contestant != "full":
        register_parametrization(layer, "weight", quantizer(trial, weight=True))
    return nn.Sequential(quantizer(trial, weight=False), layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two convolutions beside the identity, or beside a plain convolution of one pixel where the size changes."""

    def __init__(self, trial: Trial, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = outputs // inputs
        self.first, self.second = convolution(trial, inputs, outputs, stride), convolution(trial, outputs, outputs, 1)
        self.beside = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.beside(x) + self.second(self.first(x).relu())
        return y.relu()


def network(trial: Trial) -> nn.Module:
    """Return the network: (B, 3, 32, 32) -> (B, 10)."""
    w = trial.width
    stem = [nn.Conv2d(3, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU()]
    blocks = [Block(trial, w, w), Block(trial, w, 2 * w), Block(trial, 2 * w, 4 * w)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * w, 10))


def pictures(images: Images, random: torch.Generator, rows: int) -> Rows:
    """Return pictures, half of them mirrored and all shifted by up to 4 pixels, and their classes."""
    chosen = torch.randint(len(images), (rows,), generator=random)
    mirrored = torch.rand(rows, generator=random) < 0.5
    x = torch.where(mirrored[:, None, None, None], images.x[chosen].flip(-1), images.x[chosen])
    down, right = torch.randint(9, (2,), generator=random).tolist()
    return scaled(F.pad(x, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32]), images.y[chosen]


def scaled(x: Tensor) -> Tensor:
    """Return bytes as numbers near 0, of a spread near 1."""
    return (x / 255 - 0.5) * 4


def problem(trial: Trial, root: Root) -> Problem:
    """Return the rows, the network and its measures."""
    images, tests, model = cifar10.load(root, "train"), cifar10.load(root, "test"), network(trial)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)

    def measure(logits: Tensor, rows: int) -> dict[str, float]:
        y = tests.y[:rows]
        return {
            "accuracy": (logits.argmax(1) == y).double().mean().item(),
            "loss": F.cross_entropy(logits, y).item(),
        }

    words = f"{images.what}, mirrored and shifted; tested on {trial.test_rows:,} of {tests.what}"
    test = scaled(tests.x[: trial.test_rows])
    return Problem(model=model, make=partial(pictures, images), loss=loss, test=test, measure=measure, rows=words)
