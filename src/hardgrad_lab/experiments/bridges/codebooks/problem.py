"""Pictures, the autoencoder, the layers in its middle, and what is measured of the test pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data import cifar10, mnist
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.codebooks import Coding
from hardgrad_lab.experiments.bridges.codebooks.peer import Peer, peer
from hardgrad_lab.experiments.bridges.drawn import Problem, Rows

STAGES, ENOUGH = 2, 5_000  # of a residual codebook; pictures that say how much pictures vary


class Coder(nn.Module):
    """Pictures through codes and back: of each its mean squared error, and how often it took each code."""

    def __init__(self, trial: Coding, channels: int) -> None:
        super().__init__()
        n, (numbers, make) = trial.width, LAYERS[trial.layer]
        m, self.codes = numbers(trial), trial.codes
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, n, 4, 2, 1), nn.ReLU(), nn.Conv2d(n, 2 * n, 4, 2, 1), nn.ReLU(), nn.Conv2d(2 * n, m, 1)
        )
        self.layer = make(trial)
        self.decoder = nn.Sequential(
            nn.Conv2d(m, 2 * n, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(2 * n, n, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(n, channels, 4, 2, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 1 + stages * codes) of pictures (B, channels, side, side) from 0 to 1."""
        y, index = self.layer(self.encoder(x))
        error = (self.decoder(y) - x).square().flatten(1).mean(1, keepdim=True)
        index = index if index.ndim == 4 else index.unsqueeze(-1)  # (B, h, w, stages)
        places = (index + self.codes * torch.arange(index.shape[-1])).flatten(1)
        taken = error.new_zeros(len(x), index.shape[-1] * self.codes)
        return torch.cat([error, taken.scatter_add(1, places, torch.ones_like(places, dtype=error.dtype))], 1)


def codebook(trial: Coding) -> hg.Codebook:
    """Return the layer that most contestants have."""
    return hg.Codebook(
        trial.codes, trial.width, gradient=trial.gradient, learn=trial.learn, commitment=trial.commitment,
        decay=trial.decay, revive=trial.revive, dim=1,
    )  # fmt: skip


LAYERS: dict[str, tuple[Callable[[Coding], int], Callable[[Coding], nn.Module]]] = {
    "codebook": (lambda trial: trial.width, codebook),
    "residual": (lambda trial: trial.width, lambda trial: hg.ResidualCodebook(codebook(trial), STAGES)),
    "levels": (lambda trial: 3, lambda trial: hg.levels([round(trial.codes ** (1 / 3))] * 3, dim=1)),
    "lookup-free": (
        lambda trial: (trial.codes - 1).bit_length(),
        # Of seed 0 after 400 steps a weight of 0.1 takes a third of the codes, 1 takes 96 %, with less error.
        lambda trial: hg.lookup_free((trial.codes - 1).bit_length(), entropy=1, commitment=trial.commitment, dim=1),
    ),
    "peer": (lambda trial: trial.width, peer),
}


def pictures(images: Images, random: torch.Generator, rows: int) -> Rows:
    """Return pictures from 0 to 1, and what is on them."""
    chosen = torch.randint(len(images), (rows,), generator=random)
    return images.x[chosen] / 255, images.y[chosen]


def problem(trial: Coding, root: Root) -> Problem:
    """Return the pictures, the autoencoder and its measures."""
    load = partial(mnist.load, kind=mnist.FASHION) if trial.task == "fashion-mnist" else cifar10.load
    images, tests = load(root, "train"), load(root, "test")
    model, variance = Coder(trial, images.x.shape[1]), (images.x[:ENOUGH] / 255).var()

    def loss(x: Tensor, y: Tensor) -> Tensor:
        error: Tensor = model(x)[:, 0].mean() / variance
        return error + model.layer.loss if isinstance(model.layer, Peer) else error

    def measure(each: Tensor, rows: int) -> dict[str, float]:
        counts = each[:, 1:].double().sum(0).view(-1, trial.codes)
        shares = counts / counts.sum(1, keepdim=True)
        even = torch.special.entr(shares).sum(1).exp().mean()
        return {
            "error": each[:, 0].mean().item(),
            "used": (counts > 0).double().mean().item(),
            "perplexity": even.item(),
        }

    words, test = f"{images.what}; tested on {trial.test_rows:,} of {tests.what}", tests.x[: trial.test_rows] / 255
    return Problem(model=model, make=partial(pictures, images), loss=loss, test=test, measure=measure, rows=words)
