"""Sound models spoiled by chance: one layer's output goes through something that has no gradient, at a known line."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from breaks_bank import plain, sound, sound_more, sound_tricks
from breaks_bank.case import Case, Setup

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, nn.LayerNorm, nn.BatchNorm2d, nn.LSTM, nn.GRUCell)
# Which blocks run is drawn anew in each run.
HOSTS = [
    case
    for case in [*sound.CASES, *sound_tricks.CASES, *sound_more.CASES, *plain.CASES]
    if case.name != "stochastic depth"
]


class ReturnsNone(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y * 1.0

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> None:
        return None


def flat_sign(y: Tensor) -> Tensor:
    return torch.sign(y) * 0.5


def flat_round(y: Tensor) -> Tensor:
    return (y * 3).round() / 3


def flat_comparison(y: Tensor) -> Tensor:
    return (y > 0).to(y.dtype)


def cut_detach(y: Tensor) -> Tensor:
    return y.detach() * 1.0


def cut_no_grad(y: Tensor) -> Tensor:
    with torch.no_grad():
        return y * 1.0


def cut_numpy(y: Tensor) -> Tensor:
    return torch.from_numpy(y.detach().float().numpy().copy()).to(y.dtype)


def cut_list(y: Tensor) -> Tensor:
    return torch.tensor(y.tolist(), dtype=y.dtype)


def cut_long(y: Tensor) -> Tensor:
    return (y * 4).long().to(y.dtype) / 4


def cut_function(y: Tensor) -> Tensor:
    return ReturnsNone.apply(y)


def cut_fill(y: Tensor) -> Tensor:
    y = y.clone()
    y.fill_(0.3)
    return y


def suspicious_clamp(y: Tensor) -> Tensor:
    return y.clamp(1e3, 2e3) * 1e-3


WAYS: list[Callable[[Tensor], Tensor]] = [
    flat_sign,
    flat_round,
    flat_comparison,
    cut_detach,
    cut_no_grad,
    cut_numpy,
    cut_list,
    cut_long,
    cut_function,
    cut_fill,
    suspicious_clamp,
]


def kinds_of(way: Callable[[Tensor], Tensor]) -> tuple[str, ...]:
    word = way.__name__.partition("_")[0]
    return {"flat": ("flat",), "cut": ("cut", "flat"), "suspicious": ("suspicious", "dead")}[word]


def lines_of(way: Callable[[Tensor], Tensor]) -> range:
    source, first = inspect.getsourcelines(way)
    return range(first, first + len(source))


class Spoiled(nn.Module):
    """A layer, and what spoils its output."""

    def __init__(self, layer: nn.Module, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.way = layer, way

    def forward(self, *args: Any, **named: Any) -> Any:
        out = self.layer(*args, **named)
        return self.way(out) if isinstance(out, Tensor) else (self.way(out[0]), *out[1:])


def spoiled(case: Case, name: str, way: Callable[[Tensor], Tensor]) -> Setup:
    setup = case.build()
    parent_name, _, last = name.rpartition(".")
    parent = setup.model.get_submodule(parent_name)
    parent._modules[last] = Spoiled(parent._modules[last], way)
    return setup


def draws(seed: int) -> Iterator[tuple[Case, str, Callable[[Tensor], Tensor]]]:
    """Hosts, layers and ways in an order drawn by a seed."""
    choose = random.Random(seed)
    places = [(case, name) for case in HOSTS for name in layers(case.build().model)]
    pairs = [(case, name, way) for case, name in places for way in WAYS]
    choose.shuffle(pairs)
    yield from pairs


def layers(model: object) -> list[str]:
    if not isinstance(model, nn.Module):
        return []
    inside_torch = {n for n, m in model.named_modules() if type(m).__module__.startswith("torch")}
    holders = {n for n, m in model.named_modules() if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict)}
    named = [n for n, m in model.named_modules() if n and isinstance(m, KINDS)]
    return [n for n in named if (parent := n.rpartition(".")[0]) not in inside_torch or parent in holders]
