"""Approximators of every make: what ``two_tracks`` must treat as the one network that the user gave."""

from __future__ import annotations

import random
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

import hardgrad as hg

ROWS, MAPS, STEPS = (6, 4), (3, 4, 6, 6), (3, 5, 4)


@dataclass(frozen=True)
class Entry:
    """How to build an approximator, the shape of an input, and whether its weights become float64, as the input is."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = ROWS
    to_double: bool = True


class Apply(nn.Module):
    """A module around a function of its input."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class First(nn.Module):
    """The first output of a layer that returns several: recurrent layers, attention."""

    def __init__(self, layer: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.layer = layer
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(*[x] * self.times)[0]


def between(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), *layers, nn.Linear(4, 4))


def _same_twice(layer: nn.Module) -> nn.Sequential:
    return between(layer, nn.Linear(4, 4), layer)


# Layers of torch


_ACTIVATIONS = [
    *[
        "CELU",
        "ELU",
        "GELU",
        "Hardshrink",
        "Hardsigmoid",
        "Hardswish",
        "Hardtanh",
        "Identity",
        "LeakyReLU",
        "LogSigmoid",
        "Mish",
        "PReLU",
        "ReLU",
        "ReLU6",
    ],
    *["RReLU", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"],
]
_LAYERS: dict[str, Entry] = {name: Entry(lambda k=name: _same_twice(getattr(nn, k)())) for name in _ACTIVATIONS}
_LAYERS |= {
    "Threshold": Entry(lambda: between(nn.Threshold(0.1, -1.0))),
    "Softmax": Entry(lambda: between(nn.Softmax(-1))),
    "Softmin": Entry(lambda: between(nn.Softmin(-1))),
    "LogSoftmax": Entry(lambda: between(nn.LogSoftmax(-1))),
    "GLU": Entry(lambda: nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 4))),
    "Flatten, Unflatten": Entry(lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 20), nn.Unflatten(1, (5, 4))), STEPS),
    "in-place activation": Entry(lambda: _same_twice(nn.ReLU(inplace=True))),
    "in-place first": Entry(lambda: nn.Sequential(nn.Hardtanh(inplace=True), nn.Linear(4, 4))),
    "Dropout": Entry(lambda: _same_twice(nn.Dropout(0.5))),
    "Dropout alone": Entry(lambda: nn.Dropout(0.5)),
    "Dropout in place": Entry(lambda: between(nn.Dropout(0.5, inplace=True))),
    "Dropout of nothing": Entry(lambda: between(nn.Dropout(0.0))),
    "Dropout1d": Entry(lambda: between(nn.Dropout1d(0.5)), STEPS),
    "Dropout2d": Entry(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.Dropout2d(0.5), nn.Conv2d(4, 4, 1)), MAPS),
    "Dropout3d": Entry(lambda: nn.Sequential(nn.Dropout3d(0.5), nn.Conv3d(4, 4, 1)), (2, 4, 3, 3, 3)),
    "AlphaDropout": Entry(lambda: _same_twice(nn.AlphaDropout(0.5))),
    "FeatureAlphaDropout": Entry(lambda: between(nn.FeatureAlphaDropout(0.5)), STEPS),
    "BatchNorm1d": Entry(lambda: _same_twice(nn.BatchNorm1d(4))),
    "BatchNorm1d, running mean": Entry(lambda: between(nn.BatchNorm1d(4, momentum=None))),
    "BatchNorm2d": Entry(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), MAPS),
    "BatchNorm3d": Entry(lambda: nn.BatchNorm3d(4), (2, 4, 3, 3, 3)),
    "InstanceNorm1d": Entry(lambda: nn.InstanceNorm1d(5, affine=True, track_running_stats=True), STEPS),
    "InstanceNorm2d": Entry(lambda: nn.InstanceNorm2d(4, track_running_stats=True), MAPS),
    "GroupNorm": Entry(lambda: between(nn.GroupNorm(2, 4))),
    "LayerNorm": Entry(lambda: _same_twice(nn.LayerNorm(4))),
    "RMSNorm": Entry(lambda: between(nn.RMSNorm(4))),
    "LocalResponseNorm": Entry(lambda: nn.LocalResponseNorm(2), MAPS),
    "Conv1d": Entry(lambda: nn.Conv1d(5, 5, 3, padding=1), STEPS),
    "Conv2d": Entry(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.ELU(), nn.Conv2d(4, 4, 3)), MAPS),
    "ConvTranspose2d": Entry(lambda: nn.ConvTranspose2d(4, 4, 3), MAPS),
    "MaxPool2d": Entry(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.MaxPool2d(2)), MAPS),
    "AvgPool2d": Entry(lambda: nn.AvgPool2d(2), MAPS),
    "AdaptiveAvgPool2d": Entry(lambda: nn.AdaptiveAvgPool2d(2), MAPS),
    "LPPool1d": Entry(lambda: nn.LPPool1d(2, 2), STEPS),
    "FractionalMaxPool2d": Entry(lambda: nn.FractionalMaxPool2d(2, output_ratio=0.5), MAPS),
    "Upsample": Entry(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), MAPS),
    "PixelShuffle": Entry(lambda: nn.PixelShuffle(2), MAPS),
    "ChannelShuffle": Entry(lambda: nn.ChannelShuffle(2), MAPS),
    "ReflectionPad2d": Entry(lambda: nn.ReflectionPad2d(1), MAPS),
    "Softmax2d": Entry(lambda: nn.Softmax2d(), MAPS),
    "RNN": Entry(lambda: First(nn.RNN(4, 4, num_layers=2, dropout=0.5, batch_first=True)), STEPS),
    "LSTM": Entry(lambda: First(nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)), STEPS),
    "GRU": Entry(lambda: First(nn.GRU(4, 4, batch_first=True, bidirectional=True)), STEPS),
    "MultiheadAttention": Entry(lambda: First(nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True), 3), STEPS),
    "TransformerEncoderLayer": Entry(lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True), STEPS),
    "TransformerEncoder": Entry(
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True), 2, enable_nested_tensor=False
        ),
        STEPS,
    ),
    "LazyLinear": Entry(lambda: nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(4))),
    "LazyBatchNorm1d": Entry(lambda: between(nn.LazyBatchNorm1d())),
}


# Layers that are more than their class says


def _old_style(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated since 2.0, and in use
        return between(wrap(nn.Linear(4, 4)))


class Doubled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * w


def _parametrized() -> nn.Module:
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Doubled())
    return between(layer)


def _hooked(register: Callable[[nn.Module], object]) -> nn.Module:
    layer = nn.Linear(4, 4)
    register(layer)
    return between(layer, nn.Tanh())


def _replaced(wrap: Callable[[nn.Module, Callable[..., Tensor]], Callable[..., Tensor]]) -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.forward = types.MethodType(wrap(layer, layer.forward), layer)
    return between(layer)


def _accelerated(layer: nn.Module, old: Callable[..., Tensor]) -> Callable[..., Tensor]:
    layer._old_forward = old

    def forward(self: Any, *inputs: Tensor) -> Tensor:
        return 3 * self._old_forward(*(x.cos() for x in inputs))

    return forward


class Backwards(nn.Sequential):
    """Calls its modules from the last to the first."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            x = layer(x)
        return x


class Skipping(nn.Sequential):
    def __iter__(self) -> Iterator[nn.Module]:
        return iter(list(self._modules.values())[::2])


class Shifted(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Branches(nn.Module):
    """A container of one's own, with two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.layers[1].weight = self.layers[0].weight

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x).tanh() + self.layers[1](self.layers[0](x))


def _tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), first)


_ALTERED: dict[str, Entry] = {
    "weight norm": Entry(lambda: between(parametrizations.weight_norm(nn.Linear(4, 4)))),
    "spectral norm": Entry(lambda: between(parametrizations.spectral_norm(nn.Linear(4, 4)))),
    "orthogonal": Entry(lambda: between(parametrizations.orthogonal(nn.Linear(4, 4)))),
    "parametrized": Entry(_parametrized),
    "weight norm, old": Entry(lambda: _old_style(nn.utils.weight_norm)),
    "spectral norm, old": Entry(lambda: _old_style(nn.utils.spectral_norm)),
    "pruned": Entry(lambda: _old_style(lambda layer: prune.l1_unstructured(layer, "weight", 0.5))),
    "forward hook": Entry(lambda: _hooked(lambda m: m.register_forward_hook(lambda m, x, y: 2 * y))),
    "pre-hook": Entry(lambda: _hooked(lambda m: m.register_forward_pre_hook(lambda m, x: (x[0].sin(),)))),
    "pre-hook with noise": Entry(
        lambda: _hooked(lambda m: m.register_forward_pre_hook(lambda m, x: (x[0] + torch.randn_like(x[0]),)))
    ),
    "backward hook": Entry(lambda: _hooked(lambda m: m.register_full_backward_hook(lambda m, gi, go: (2 * gi[0],)))),
    "backward pre-hook": Entry(
        lambda: _hooked(lambda m: m.register_full_backward_pre_hook(lambda m, go: (3 * go[0],)))
    ),
    "forward replaced": Entry(lambda: _replaced(lambda layer, old: lambda self, x: old(x).sin())),
    "accelerate": Entry(lambda: _replaced(_accelerated)),
    "Sequential that goes backwards": Entry(lambda: Backwards(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))),
    "Sequential that skips": Entry(lambda: Skipping(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))),
    "Linear that shifts": Entry(lambda: between(Shifted(4, 4))),
    "own container": Entry(Branches),
    "tied weights": Entry(_tied),
    "Sequential in Sequential, twice": Entry(lambda: nn.Sequential(*[between(nn.Tanh())] * 2)),
    "frozen": Entry(lambda: between(nn.Tanh()).requires_grad_(False)),
    "frozen convolution": Entry(lambda: nn.Conv2d(4, 4, 3).requires_grad_(False), MAPS),
    "half frozen": Entry(lambda: nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Tanh(), nn.Linear(4, 4))),
}


# What only a user writes


class Counting(nn.Module):
    """Counts its calls in a buffer and in Python, and computes by them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        return x * self.calls + self.seen


class Remembering(nn.Module):
    """A recurrent cell that keeps its state on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.cell(x, self.state)
        self.state = y.detach()
        return y


class Generated(nn.Module):
    """Noise from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand(x.shape, generator=self.generator, dtype=x.dtype)


class Writing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.mul_(0.5).add_(x.detach().sin())
        return x


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = between(nn.Tanh(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = between(nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x.float()).to(x.dtype)


class Wide(nn.Module):
    """Layers of two precisions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.float()).to(x.dtype))


class Unregistered(nn.Module):
    """A weight that no parameter list knows."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [nn.Parameter(torch.linspace(-1, 1, 16).view(4, 4).double())]

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.hidden[0]).tanh()


def _noise(x: Tensor) -> Tensor:
    return F.dropout(x, 0.3) + 0.1 * torch.randn_like(x)


def _compiled(backend: str) -> nn.Module:
    return torch.compile(between(nn.Tanh(), nn.Dropout(0.5)), backend=backend)


def _compiled_inside() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.compile(backend="aot_eager")
    return between(layer, nn.Tanh())


_OWN: dict[str, Entry] = {
    "counter": Entry(lambda: between(Counting())),
    "state on itself": Entry(Remembering),
    "own generator": Entry(lambda: between(Generated())),
    "functional noise": Entry(lambda: between(Apply(_noise))),
    "Python's noise": Entry(lambda: between(Apply(lambda x: x * random.random()))),
    "writes": Entry(lambda: nn.Sequential(Writing(), nn.Linear(4, 4), Writing(), nn.Linear(4, 4))),
    "writes alone": Entry(Writing),
    "hands back its input": Entry(lambda: Apply(lambda x: x)),
    "view of its input": Entry(lambda: nn.Sequential(Apply(lambda x: x[:, :2]), nn.Linear(2, 4))),
    "view alone": Entry(lambda: Apply(lambda x: x.T[:2].T)),
    "data-dependent": Entry(lambda: between(Apply(lambda x: x.sin() if x.sum().item() > 0 else x.cos()))),
    "checkpoint": Entry(Checkpointed),
    "autocast": Entry(Autocast, to_double=False),
    "mixed precision": Entry(Wide, to_double=False),
    "unregistered weight": Entry(Unregistered),
    "bridge inside": Entry(lambda: between(hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4, hidden=(5,))))),
    "bridge inside, conditioned": Entry(
        lambda: between(hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4, hidden=(5,)), conditioning=True))
    ),
    "compiled": Entry(lambda: _compiled("aot_eager")),
    "compiled inside": Entry(_compiled_inside),
    "scripted": Entry(lambda: torch.jit.trace(between(nn.Tanh()), torch.ones(ROWS))),
    "data parallel": Entry(lambda: nn.DataParallel(between(nn.Tanh()))),
    "mlp": Entry(lambda: hg.approximators.mlp(4, 4)),
    "elementwise": Entry(lambda: hg.approximators.elementwise()),
    "suggested": Entry(lambda: hg.approximators.suggest(hg.hard.sort, torch.eye(4))),
    "conv": Entry(lambda: hg.approximators.conv(4, 4, width=5), MAPS),
    "sequence": Entry(lambda: hg.approximators.sequence(4, 4, width=8, heads=2), STEPS),
}

BANK: dict[str, Entry] = {**_LAYERS, **_ALTERED, **_OWN}


@contextmanager
def a_global_hook() -> Iterator[None]:
    """Double what every linear layer returns, by a hook for all modules."""
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, x, y: 2 * y if isinstance(module, nn.Linear) else None
    )
    try:
        yield
    finally:
        handle.remove()
