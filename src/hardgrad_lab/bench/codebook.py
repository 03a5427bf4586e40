"""What quantizers cost: a look-up over the matrix product of its distances, a training step beside another package.

vector-quantize-pytorch is raced where it is installed, on the same batch, with the same options: moving averages, the
same commitment, neither k-means nor revival.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.bench.memory import risen
from hardgrad_lab.bench.race import Contender, race

LOOK_UP = (32_768, 64, 8_192)  # rows, their width, codes
SIZES = ((1_024, 64, 512), (8_192, 64, 512), (8_192, 256, 1_024))
WEIGHTS = (256, 1_152)  # of a layer of 128 channels and 3 x 3
DECAY, COMMITMENT = 0.99, 0.25
_AT_ONCE = 128  # rows of the product in pieces, which stay in a cache
PEER = "vector_quantize_pytorch"


def product(x: Tensor, codes: Tensor) -> Tensor:
    """Return the last rows of the distances' matrix product, of which no more is held: the least it can take."""
    held = x.new_empty(min(_AT_ONCE, len(x)), len(codes))
    for rows in x.split(_AT_ONCE):
        torch.mm(rows, codes.mT, out=held[: len(rows)])
    return held


def looked_up(rows: int, width: int, codes: int) -> tuple[Tensor, Tensor]:
    """Return normal rows and codes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, width, generator=generator), torch.randn(codes, width, generator=generator)


def _nearest(seconds: float) -> None:
    x, codes = looked_up(*LOOK_UP)
    calls = {"whole": Contender(lambda: x @ codes.mT), "in pieces": Contender(lambda: product(x, codes))}
    calls |= {name: Contender(partial(getattr(hg.hard, name), x, codes)) for name in ("nearest_code", "nearest_index")}
    taken = race(calls, seconds, least=3)
    for name in list(calls)[2:]:
        over = "   ".join(f"{taken[name] / taken[way]:.2f} of the product {way}" for way in list(calls)[:2])
        print(f"{name}, {LOOK_UP[0]} x {LOOK_UP[1]} against {LOOK_UP[2]} {1e3 * taken[name]:7.0f} ms   {over}")


def held_by(name: str, given: tuple[int, int, int]) -> float:
    """Return by how many MiB a look-up raises what this process holds at once."""
    torch.set_num_threads(1)
    x, codes = looked_up(*given)
    call = getattr(hg.hard, name)
    if name == "kmeans":
        return risen(partial(call, x, k=given[2], iterations=1))
    call(x[:8], codes[:8])
    return risen(partial(call, x, codes))


def _memory() -> None:
    few = (LOOK_UP[0], LOOK_UP[1], 16)  # k-means looks for each start in turn
    for name, given in (("nearest_code", LOOK_UP), ("kmeans", few)):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
            (held,) = fresh.starmap(held_by, [(name, given)])
        print(f"memory, {name}, {given[0]} x {given[1]} against {given[2]} {held:7.1f} MiB over the input")


def quantizers(width: int, codes: int, *, rotation: bool) -> dict[str, nn.Module]:
    """Return the library's layer, and the other package's with the same options where it is installed."""
    start = torch.randn(codes, width)
    found: dict[str, nn.Module] = {
        "hardgrad": hg.Codebook(
            codes, width, gradient="rotation" if rotation else "copy", start=start, revive=None, commitment=COMMITMENT,
            decay=DECAY,
        )
    }  # fmt: skip
    if find_spec(PEER) is not None:
        package: Any = __import__(PEER)
        found[PEER] = package.VectorQuantize(
            width, codes, decay=DECAY, commitment_weight=COMMITMENT, kmeans_init=False, threshold_ema_dead_code=0,
            rotation_trick=rotation,
        )  # fmt: skip
    return found


def step(layer: Callable[[Tensor], Any], x: Tensor) -> Contender:
    """Return a forward and backward, with the terms that a layer returns, of whose values each weighs differently."""
    weight = torch.linspace(-1, 1, x.shape[-1])

    def call() -> None:
        given = layer(x)
        value, _, *terms = given if isinstance(given, tuple) else (given, None)
        ((value * weight).sum() + sum(term.sum() for term in terms)).backward()

    def forget() -> None:
        x.grad = None

    return Contender(call, before=forget)


def _steps(seconds: float) -> None:
    for rows, width, codes in SIZES:
        x = torch.randn(8, rows // 8, width, requires_grad=True)
        for rotation in (False, True):
            layers = quantizers(width, codes, rotation=rotation)
            name = f"{rows} x {width}, {codes} codes, {'rotation' if rotation else 'copy'}"
            _compare(f"step, {name}", {each: step(layer, x) for each, layer in layers.items()}, seconds)
        with torch.no_grad():
            calls = {each: Contender(partial(layer.eval(), x.detach())) for each, layer in layers.items()}
            _compare(f"eval, {rows} x {width}, {codes} codes", calls, seconds)


def _compare(name: str, calls: dict[str, Contender], seconds: float) -> None:
    taken = race(calls, seconds)
    ours, *others = taken.values()
    of_other = f" {ours / others[0]:6.2f} of {PEER}" if others else ""
    print(f"{name:44} {1e3 * ours:9.2f} ms{of_other}", flush=True)


def _low_bit(seconds: float) -> None:
    x, straight = torch.randn(WEIGHTS, requires_grad=True), hg.straight_through(hg.hard.round)
    layers: dict[str, Callable[[Tensor], Tensor]] = {
        "one scale": hg.LearnedScale(2, start=0.5, batched=False),
        "a scale a channel": hg.LearnedScale(2, start=0.5, per_channel=0, channels=WEIGHTS[0], batched=False),
        "straight-through": lambda x: 0.5 * straight((x / 0.5).clamp(-2, 1)),
    }
    taken = race({name: step(layer, x) for name, layer in layers.items()}, seconds)
    for name in list(layers)[:2]:
        over, ms = taken[name] / taken["straight-through"], 1e3 * taken[name]
        print(f"LearnedScale, {WEIGHTS[0]} x {WEIGHTS[1]}, {name:18} {ms:8.2f} ms {over:6.2f} of a fixed scale's")


def measure(seconds: float) -> None:
    """Measure all of it, and print it line by line."""
    torch.manual_seed(0)
    _nearest(seconds)
    _memory()
    _steps(seconds)
    _low_bit(seconds)
