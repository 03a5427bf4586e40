"""The hard layers of the classifier: functions of a feature map (B, C, H, W), and the networks that imitate them.

Each network knows of its function what the layout says: that signum looks at one value, sort and top-k at one channel,
and that k-means does not care in which order the places come. What the published ones looked like is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.bridges.classify.config import RESHAPING, SIDES, Classification

Hard = Callable[[Tensor], Tensor]
HIDDEN = 64  # of the networks that see one channel at a time


def top_of_sorted(x: Tensor, k: int) -> Tensor:
    """Return the k largest of each channel's sorted rows and sorted columns, (B, C, k); those hold each value twice."""
    return hg.hard.top_k(hg.hard.sort_rows_cols(x).flatten(2), k)


def clustered(x: Tensor, k: int) -> Tensor:
    """Return the map with each place's channels replaced by the centre of its cluster among the places."""
    return hg.hard.kmeans(x.flatten(2).mT, k).mT.reshape(x.shape)


def sorted_flat(x: Tensor) -> Tensor:
    """Return all values of a sample in ascending order, laid out as its map was."""
    return hg.hard.sort(x.flatten(1)).view(x.shape)


def hard_function(config: Classification) -> Hard | None:
    """Return the hard function of a configuration; None for the identity."""
    known: dict[str, Hard | None] = {
        "identity": None,
        "signum": partial(hg.hard.sign, margin=config.margin),
        "sort": hg.hard.sort_rows_cols,
        "top-k": partial(top_of_sorted, k=config.k),
        "k-means": partial(clustered, k=config.clusters),
        "sort-1d": sorted_flat,
    }
    return known[config.layer]


def values_per_channel(config: Classification) -> int:
    """Return how many values a channel has where the head looks."""
    last = SIDES[config.network][-1] ** 2
    return {"sort": 2 * last, "top-k": config.k}.get(config.layer, last)


class Points(nn.Module):
    """(B, C, n, n) to n * n points of C features, (B, n * n, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mT


class Map(nn.Module):
    """Undo ``Points``, for maps of n * n places.

    Args:
        side: n.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x.mT.reshape(len(x), -1, self.side, self.side)


def approximator(config: Classification) -> nn.Module:
    """Return a network from the layer's input to its output, for the place where it stands."""
    channels, n = config.channels, config.side
    if config.layer == "signum":
        return hg.approximators.elementwise(8)
    if config.layer in RESHAPING:
        shape = (2 * n, n) if config.layer == "sort" else (config.k,)
        channel = hg.approximators.mlp(n * n, prod(shape), hidden=(HIDDEN, HIDDEN), activation=nn.ELU)
        return nn.Sequential(nn.Flatten(2), *channel, nn.Unflatten(2, shape))
    if config.layer == "k-means":
        points = hg.approximators.sequence(channels, channels, width=max(HIDDEN // 2, channels), positions=False)
        return nn.Sequential(Points(), *points, Map(n))
    values = channels * n * n
    hidden = min(values // 2, 256)  # half the layer's width as in the published program, as far as memory goes
    whole = hg.approximators.mlp(values, values, hidden=(hidden, hidden))
    return nn.Sequential(nn.Flatten(1), *whole, nn.Unflatten(1, (channels, n, n)))


class Plain(nn.Module):
    """A hard function with the gradient that autograd finds for it, or with none.

    Args:
        hard: the function.
        lends: whether the layers before get a gradient.
    """

    def __init__(self, hard: Hard, *, lends: bool) -> None:
        super().__init__()
        self.hard, self.lends = hard, lends

    def forward(self, x: Tensor) -> Tensor:
        return self.hard(x if self.lends else x.detach())


def layer(config: Classification) -> nn.Module:
    """Return the layer of a configuration, with whatever it learns by."""
    hard = hard_function(config)
    if hard is None:
        return nn.Identity()
    if config.gradient == "bridge":
        return hg.Bridge(hard, approximator(config), weight=config.gamma, conditioning=config.conditioning)
    if config.gradient == "straight-through":
        return hg.straight_through(hard)
    return Plain(hard, lends=config.gradient == "exact")
