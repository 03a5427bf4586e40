"""What quantizers cost: a look-up over the matrix product of its distances, a training step beside another package.

vector-quantize-pytorch is raced where it is installed, on the same batch, with the same options: moving averages, the
same commitment, neither k-means nor revival.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.bench.memory import risen
from hardgrad_lab.bench.race import Contender, race

LOOK_UP = (32_768, 64, 8_192)  # rows, their width, codes
CLUSTERS = (32_768, 64, 16)
SIZES = ((1_024, 64, 512), (8_192, 64, 512), (8_192, 256, 1_024))
WEIGHTS = (256, 1_152)  # of a layer of 128 channels and 3 x 3
DECAY, COMMITMENT = 0.99, 0.25
PEER = "vector_quantize_pytorch"
Calls = Mapping[str, Callable[[], object]]
_AT_ONCE = 128  # rows of the product in pieces, which stay in a cache


def product(x: Tensor, codes: Tensor) -> Tensor:
    """Return the last rows of the distances' matrix product, of which no more is held: the least it can take."""
    held = x.new_empty(min(_AT_ONCE, len(x)), len(codes))
    for rows in x.split(_AT_ONCE):
        torch.mm(rows, codes.mT, out=held[: len(rows)])
    return held


def _nearest(seconds: float) -> None:
    rows, width, codes = LOOK_UP
    x, table = torch.randn(rows, width), torch.randn(codes, width)
    over = {"the product": lambda: x @ table.mT, "the product in pieces": lambda: product(x, table)}
    calls = {"nearest_code": lambda: hg.hard.nearest_code(x, table)}
    _print(f"{rows} x {width} against {codes}", calls, over, seconds)


def held_by(name: str, rows: int, width: int, codes: int) -> float:
    """Return by how many MiB a look-up, or a round of k-means, raises what this process holds at once."""
    torch.set_num_threads(1)
    x, table = torch.randn(rows, width), torch.randn(codes, width)
    calls = {"nearest_code": partial(hg.hard.nearest_code, codebook=table), "kmeans": partial(hg.hard.kmeans, k=codes)}
    calls[name](x[: codes + 1])
    return risen(lambda: calls[name](x))


def _memory() -> None:
    for name, given in (("nearest_code", LOOK_UP), ("kmeans", CLUSTERS)):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
            held = fresh.apply(held_by, (name, *given))
        print(f"{given[0]} x {given[1]} against {given[2]}, {name}: {held:.0f} MiB over the input")


def quantizers(width: int, codes: int, *, rotation: bool) -> dict[str, nn.Module]:
    """Return the library's layer, and the other package's with the same options where it is installed."""
    gradient, start = "rotation" if rotation else "copy", torch.randn(codes, width)
    ours = hg.Codebook(
        codes, width, gradient=gradient, start=start, revive=None, commitment=COMMITMENT, decay=DECAY
    )  # fmt: skip
    if find_spec(PEER) is None:
        return {"Codebook": ours}
    package: Any = __import__(PEER)
    other = package.VectorQuantize(
        width, codes, decay=DECAY, commitment_weight=COMMITMENT, kmeans_init=False, threshold_ema_dead_code=0,
        rotation_trick=rotation,
    )  # fmt: skip
    return {"Codebook": ours, PEER: other}


def step(layer: Callable[[Tensor], Any], x: Tensor) -> Callable[[], None]:
    """Return a forward and backward, with the terms that a layer returns, of whose values each weighs differently."""
    weight = torch.linspace(-1, 1, x.shape[-1])

    def call() -> None:
        given = layer(x)
        value, _, *terms = given if isinstance(given, tuple) else (given, None)
        ((value * weight).sum() + sum(term.sum() for term in terms)).backward()
        x.grad = None

    return call


def _steps(seconds: float) -> None:
    for rows, width, codes in SIZES:
        x = torch.randn(8, rows // 8, width, requires_grad=True)
        for way in ("copy", "rotation", "eval"):
            layers = quantizers(width, codes, rotation=way == "rotation")
            calls: Calls = {name: step(layer, x) for name, layer in layers.items()}
            if way == "eval":
                calls = {name: partial(layer.eval(), x.detach()) for name, layer in layers.items()}
            over = {name: call for name, call in calls.items() if name == PEER}
            _print(f"{rows} x {width} against {codes}, {way}", {"Codebook": calls["Codebook"]}, over, seconds)


def _low_bit(seconds: float) -> None:
    x, straight = torch.randn(WEIGHTS, requires_grad=True), hg.straight_through(hg.hard.round)
    layers = {
        "LearnedScale": hg.LearnedScale(2, start=0.5, batched=False),
        "LearnedScale, one a channel": hg.LearnedScale(2, start=0.5, per_channel=0, channels=WEIGHTS[0], batched=False),
    }
    over = {"straight-through": step(lambda x: 0.5 * straight((x / 0.5).clamp(-2, 1)), x)}
    _print(f"{WEIGHTS[0]} x {WEIGHTS[1]}", {name: step(layer, x) for name, layer in layers.items()}, over, seconds)


def _print(title: str, calls: Calls, over: Calls, seconds: float) -> None:
    taken = race({name: Contender(call) for name, call in {**calls, **over}.items()}, seconds, least=3)
    for name in calls:
        ratios = "".join(f"   {taken[name] / taken[other]:.2f} of {other}" for other in over)
        print(f"{title}, {name}: {1e3 * taken[name]:.2f} ms{ratios}", flush=True)


def measure(seconds: float) -> None:
    """Measure all of it, and print it line by line."""
    torch.manual_seed(0)
    for part in (_nearest, _steps, _low_bit):
        part(seconds)
    _memory()
