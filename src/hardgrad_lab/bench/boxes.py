"""What a program in a network costs, as ratios within one run.

- a ``BlackBox`` over its bare program, for a whole batch at once and row by row;
- forward and backward of ``perturb`` over the ``1 + 2 * samples`` calls that it makes;
- ``hg.doctor.breaks`` over a plain step of the same model: a ResNet-18 on 32x32, and a small perceptron.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.bench.race import Contender, race
from hardgrad_lab.experiments.bridges.classify.networks import resnet_18

ROWS, KNOBS, LENGTH = 64, 10, 1024


def _rounded(x: Any) -> Any:
    return np.round(8 * x) / 8


def _filter(knobs: Any) -> Any:
    """A recursive filter, some milliseconds as of a small plug-in: a batch of knobs to a batch of signals."""
    state = np.zeros(len(knobs), np.float32)
    signal = np.empty((len(knobs), LENGTH), np.float32)
    for t in range(LENGTH):
        state = 0.9 * state + knobs[:, t % KNOBS]
        signal[:, t] = np.round(8 * state) / 8
    return signal


def _calls(seconds: float) -> None:
    x = torch.rand(ROWS, KNOBS)
    boxes = {"a batch": hg.BlackBox(_rounded, batched=True), "row by row": hg.BlackBox(_rounded)}
    bare: dict[str, Callable[[], object]] = {
        "a batch": lambda: torch.from_numpy(_rounded(x.numpy())),
        "row by row": lambda: torch.from_numpy(np.stack([_rounded(row) for row in x.numpy()])),
    }
    with torch.no_grad():
        for name, box in boxes.items():
            found = race({"bare": Contender(bare[name]), "box": Contender(lambda: box(x))}, seconds)  # noqa: B023
            more, ratio = found["box"] - found["bare"], found["box"] / found["bare"]
            print(f"box, {name:12} of {ROWS} {1e6 * more:8.1f} us on top   {ratio:5.2f} of the bare program")


def _perturb(seconds: float) -> None:
    weight = torch.randn(KNOBS, LENGTH)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "filter in a box": hg.BlackBox(_filter, batched=True),
        "two tensor operations": lambda x: (x @ weight).round(),
    }
    for name, f in functions.items():
        for directions, samples, count in (("random", 1, 1), ("random", 8, 8), ("coordinates", None, KNOBS)):
            layer = hg.perturb(f, 0.1, samples=samples, directions=directions)  # type: ignore[arg-type]  # of a table
            both = {"calls": Contender(_plain(f, 1 + 2 * count)), "perturb": Contender(_trained(layer))}
            found = race(both, seconds)
            ratio = found["perturb"] / found["calls"]
            print(f"perturb, {name:22} {directions:12} {count:2} pairs {1e3 * found['perturb']:8.2f} ms   {ratio:5.2f}")


def _plain(f: Callable[[Tensor], Tensor], count: int) -> Callable[[], None]:
    x = torch.rand(ROWS, KNOBS)

    def call() -> None:
        with torch.no_grad():
            for _ in range(count):
                f(x)

    return call


def _trained(layer: nn.Module) -> Callable[[], None]:
    x = torch.rand(ROWS, KNOBS, requires_grad=True)
    return lambda: layer(x).sum().backward()


def _breaks(seconds: float) -> None:
    models = {
        "ResNet-18, 32x32": (resnet_18(64, nn.Identity(), features=16), torch.randn(2, 3, 32, 32)),
        "perceptron": (nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1)), torch.randn(64, 10)),
    }
    for name, (model, x) in models.items():
        start = time.perf_counter()
        found = list(hg.doctor.breaks(model, x))
        first = time.perf_counter() - start
        both = {
            "step": Contender(lambda: model(x).sum().backward()),  # noqa: B023
            "breaks": Contender(lambda: list(hg.doctor.breaks(model, x))),  # noqa: B023
        }
        taken = race(both, seconds)
        ratio = taken["breaks"] / taken["step"]
        line = f"breaks, {name:18} {1e3 * taken['breaks']:7.1f} ms   {ratio:5.1f} steps   {first:.2f} s at first"
        print(f"{line}   {len(found)} found")


def measure(seconds: float) -> None:
    """Measure all of it, and print it line by line."""
    torch.manual_seed(0)
    _calls(seconds)
    _perturb(seconds)
    _breaks(seconds)
