"""The rivals that train. Each is called as a switch is, ``model(x, key)``, and ends in a linear layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg

Branch = Callable[[int, float], nn.Module]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}
KEY_WIDTH = 8  # of the hidden layer that FiLM and the gate read the key with


def mlp(in_features: int, hidden: Sequence[int], out_features: int, activation: str) -> nn.Sequential:
    """Return linear layers with an activation between them, and none after the last."""
    layers: list[nn.Module] = []
    width = in_features
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), ACTIVATIONS[activation]()]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, out_features))


class Scale(nn.Module):
    """Map a key to [-1, 1] by its outermost finite points, and so the columns of x that hold the key.

    It gives a network without ranges what ``normalize`` gives a switch, as far as one affine map can.

    Args:
        ranges: of the key.
        columns: of x, mapped likewise.
    """

    mask: Tensor

    def __init__(self, ranges: hg.switch.PointRouter, columns: Sequence[int], in_features: int) -> None:
        super().__init__()
        finite = [point for point in ranges.points if math.isfinite(point)]
        self.low, self.high = (finite[0], finite[-1]) if len(finite) > 1 else (-1.0, 1.0)
        mask = torch.zeros(in_features, dtype=torch.bool, device="cpu")
        mask[list(columns)] = True
        self.columns = list(columns)
        self.register_buffer("mask", mask, persistent=False)

    def key(self, key: Tensor) -> Tensor:
        """Return the scaled key."""
        return (2 * key - self.low - self.high) / (self.high - self.low)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.mask, self.key(x), x) if self.columns else x


class Plain(nn.Module):
    """A network that does not look at the key, unless the key is among its inputs."""

    def __init__(self, network: nn.Module, scale: Scale) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        del key
        y: Tensor = self.network(self.scale(x))
        return y


class ConditionInput(nn.Module):
    """A network with the scaled key and the one-hot number of its range as further inputs."""

    def __init__(self, network: nn.Module, scale: Scale, ranges: hg.switch.PointRouter) -> None:
        super().__init__()
        self.network, self.scale, self.ranges = network, scale, ranges

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        y: Tensor = self.network(torch.cat([self.scale(x), of_key(key, self.ranges, self.scale, x.dtype)], dim=1))
        return y


class Film(nn.Module):
    """A network whose hidden layers are each scaled and shifted by what a small network makes of the key.

    It reads the scaled key and the one-hot number of its range.

    Args:
        network: ``nn.Sequential``; what its inner linear, convolving and recurrent layers put out is modulated.
        scale: of the key.
        ranges: of the key.

    Source: Perez et al. 2018, FiLM (arXiv 1709.07871), section 2.
    """

    def __init__(self, network: nn.Sequential, scale: Scale, ranges: hg.switch.PointRouter) -> None:
        super().__init__()
        self.network, self.scale, self.ranges = network, scale, ranges
        self.widths = [width_of(layer) for layer in list(network)[:-1]]
        total = sum(self.widths)
        self.read = nn.Sequential(nn.Linear(1 + len(ranges), KEY_WIDTH), nn.Tanh(), nn.Linear(KEY_WIDTH, 2 * total))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        gains, shifts = self.read(of_key(key, self.ranges, self.scale, x.dtype)).chunk(2, dim=1)
        h: Tensor = self.scale(x)
        start = 0
        for i, layer in enumerate(self.network):
            h = layer(h)
            width = self.widths[i] if i < len(self.widths) else 0
            if width:
                part = slice(start, start + width)
                shape = (len(x), *[1] * (h.ndim - 2), width)
                h = h * (1 + gains[:, part].reshape(shape)) + shifts[:, part].reshape(shape)
                start += width
        return h


class SoftGate(nn.Module):
    """A mixture of as many experts as ranges; a softmax over what a small network makes of the scaled key weighs them.

    All experts run on every row. The gate is not told the ranges: it learns a soft division of its own.

    Source: Jacobs et al. 1991, Adaptive mixtures of local experts.
    """

    def __init__(self, experts: Sequence[nn.Module], scale: Scale) -> None:
        super().__init__()
        self.experts, self.scale = nn.ModuleList(experts), scale
        self.gate = nn.Sequential(nn.Linear(1, KEY_WIDTH), nn.Tanh(), nn.Linear(KEY_WIDTH, len(experts)))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        weights = self.gate(self.scale.key(key).to(x.dtype).unsqueeze(1)).softmax(1)
        x = self.scale(x)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
        y: Tensor = (weights.unsqueeze(2) * outputs).sum(1)
        return y


class Table(nn.Module):
    """A piecewise-linear table from the key alone, its values learned at knots of equal distance.

    Args:
        low: the key of the first knot; keys below it take its value.
        high: of the last.
        knots: at least two.
        out_features: columns of y.
    """

    def __init__(self, low: float, high: float, knots: int, out_features: int) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.values = nn.Parameter(torch.zeros(max(knots, 2), out_features))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        last = len(self.values) - 1
        place = ((key.to(x.dtype) - self.low) / (self.high - self.low) * last).clamp(0, last)
        left = place.detach().floor().clamp(max=last - 1)
        share = (place - left).unsqueeze(1)
        at = left.long()
        return self.values[at] * (1 - share) + self.values[at + 1] * share


def of_key(key: Tensor, ranges: hg.switch.PointRouter, scale: Scale, dtype: torch.dtype) -> Tensor:
    """Return the scaled key (B,) and the one-hot number of its range, (B, 1 + N)."""
    one_hot = F.one_hot(ranges.index(key), len(ranges)).to(dtype)
    return torch.cat([scale.key(key).to(dtype).unsqueeze(1), one_hot], dim=1)


def width_of(layer: nn.Module) -> int:
    """Return how many features a layer with weights puts out last; 0 for a layer without weights."""
    for name in ("out_features", "out_channels", "hidden_size"):
        width = getattr(layer, name, None)
        if isinstance(width, int):
            return width
    return 0
