"""What devices with a state cost, forward and backward: beside torchcomp where it is installed, and how that grows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.bench.race import Contender, race

RATE = 44_100
ROWS, SAMPLES = 8, 65_536
ROW_COUNTS, LENGTHS = (1, 2, 4, 8, 16, 64), (1_000, 10_000, 100_000, 1_000_000)


def _noise(rows: int, samples: int) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(0)).abs().requires_grad_()


def _passes(name: str, call: Callable[[], Tensor], leaves: list[Tensor]) -> dict[str, Contender]:
    """A forward pass, and the backward of one that is not timed."""
    made = [call()]
    grad = torch.randn_like(made[0])

    def again() -> None:
        made[:] = [call()]

    back = Contender(lambda: torch.autograd.grad(made[0], leaves, grad), before=again)
    return {f"{name} forward": Contender(call), f"{name} backward": back}


def _of_layer(layer: Any, x: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    return (lambda: layer(x)[0]), [x, *(p for p in layer.parameters() if p.requires_grad)]


def _torchcomp(x: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    core: Any = import_module("torchcomp.core")
    times = [torch.full((len(x),), value, requires_grad=True) for value in (0.02, 0.0002)]
    start = torch.zeros(len(x))
    return (lambda: core.compressor_core(x, start, *times)), [x, *times]


def devices_of(x: Tensor) -> dict[str, tuple[Callable[[], Tensor], list[Tensor]]]:
    """Return how each device is called on x, and what gets a gradient."""
    key = hg.EnvelopeKey(sample_rate=RATE, learn=True)
    layers: dict[str, Any] = {
        "Ballistics": hg.Ballistics(1.0, 100.0, sample_rate=RATE),
        "Compressor": hg.Compressor(-20.0, 4.0, sample_rate=RATE),
        "Gate": hg.Gate(-10.0, -20.0, sample_rate=RATE),
    }
    found = {name: _of_layer(layer, x) for name, layer in layers.items()}
    found["EnvelopeKey"] = (lambda: key.level(x)[0]), [x, *key.parameters()]
    return found | ({"torchcomp": _torchcomp(x)} if find_spec("torchcomp") else {})


def measure(seconds: float) -> None:
    """Race the devices, then one against its own size, and print a line for each."""
    contenders: dict[str, Contender] = {}
    for name, (call, leaves) in devices_of(_noise(ROWS, SAMPLES)).items():
        contenders |= _passes(name, call, leaves)
    taken = race(contenders, seconds)
    for name in [each.removesuffix(" forward") for each in taken if each.endswith(" forward")]:
        forward, backward = (1e3 * taken[f"{name} {way}"] for way in ("forward", "backward"))
        print(f"{ROWS} x {SAMPLES}  {name:12} {forward:7.2f} + {backward:7.2f} ms forward + backward")
    sizes = [(rows, SAMPLES) for rows in ROW_COUNTS] + [(ROWS, samples) for samples in LENGTHS]
    layer = hg.Ballistics(1.0, 100.0, sample_rate=RATE)
    for rows, samples in sizes:
        taken = race(_passes("", *_of_layer(layer, _noise(rows, samples))), seconds / len(sizes), least=3)
        each = "  ".join(f"{way.strip()} {1e9 * time / rows / samples:6.2f}" for way, time in taken.items())
        print(f"Ballistics {rows:3} x {samples:8}  ns a sample: {each}")
