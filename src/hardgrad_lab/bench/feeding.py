"""What feeding costs: steps of the experiments on their streams against the same steps on one batch that lies ready.

- the training steps of `density`, `latents` and `classify` at their small budget, cheap contestants and dear ones, with
  everything that a step of a run does;
- photographs of about 500 x 375, a random part of each to 224 x 224, decoded in a thread or in a process beside a
  thread that computes. What Python's lock costs is what the thread falls behind.

Rounds of two contestants take turns. The ratio is the median over rounds of their times, so a machine that slows down
slows both.
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hardgrad_lab.data.folder import TRIES, Anywhere, find, read
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments import experiment
from hardgrad_lab.runs.loop import Training

# Name, task, contestant, and values in place of the small budget's.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("density", "mnist-static", "straight-through", {}),
    ("density", "mnist-dynamic", "straight-through", {}),
    ("density", "mnist-dynamic", "bridge", {}),
    ("density", "omniglot-dynamic", "relax", {}),
    ("latents", "fashion-mnist-0.1", "dab-signum", {}),
    ("latents", "fashion-mnist-0.1", "gumbel-bernoulli", {}),
    ("latents", "cifar10-0.1", "dab-binary", {}),
    ("classify", "cifar10", "identity", {}),
    ("classify", "cifar10", "identity", {"augment": True}),
    ("classify", "cifar10", "sort", {"augment": True}),
]


class OneBatch:
    """A stream that gives the same batch for ever."""

    def __init__(self, batch: tuple[Tensor, Tensor]) -> None:
        self._batch = batch

    def batch(self) -> tuple[Tensor, Tensor]:
        return self._batch

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state


def _begin(name: str, task: str, contestant: str, given: dict[str, Any], root: Root) -> Training:
    known = experiment(name)
    config = known.configure("small", task, contestant, given)
    torch.manual_seed(0)
    training: Training = import_module(known.program).begin(config, 0, root, torch.device("cpu"))[0]
    training.model.train()
    return training


def _seconds(training: Training, steps: int) -> tuple[float, float]:
    """Of the thread's own time and of the wall's: everything runs in this thread, and its time is disturbed less."""
    began = time.thread_time(), time.perf_counter()
    for _ in range(steps):
        training.step(training.loss, 0.0)
    return time.thread_time() - began[0], time.perf_counter() - began[1]


def _compare(name: str, training: Training, rounds: int) -> None:
    """Take turns between the stream and one batch of it, on one network that trains on."""
    stream = training.stream
    x, y = stream.batch()
    ready = OneBatch((x.clone(), y.clone()))
    steps = max(3, round(0.5 / (_seconds(training, 3)[0] / 3)))
    fixed, fed = [], []
    for _ in range(rounds):
        training.stream = ready
        fixed.append(_seconds(training, steps))
        training.stream = stream
        fed.append(_seconds(training, steps))
    for clock, which in enumerate(("thread", "wall")):
        ratios = sorted(a[clock] / b[clock] for a, b in zip(fixed, fed, strict=True))
        low, middle, high = (ratios[round(share * (rounds - 1))] for share in (0.25, 0.5, 0.75))
        one, streamed = (1e3 * statistics.median(row[clock] for row in rows) / steps for rows in (fixed, fed))
        print(
            f"{name:50} {which:6} one batch {one:7.2f} ms, stream {streamed:7.2f} ms a step: "
            f"speed {middle:.3f} of it (quartiles {low:.3f} to {high:.3f})",
            flush=True,
        )


def _decode(folder: Path, stop: Any, count: Any) -> None:
    """Read pictures until told to stop, in a thread or a process of its own."""
    listing = find(Root(folder=folder), "photos/imagenet-det10", "train")
    chance = torch.rand(TRIES, 4)
    while not stop.is_set():
        read(listing.path(count.value % len(listing)), 224, Anywhere(), chance)
        count.value += 1


def _beside(folder: Path, threaded: bool) -> tuple[float, float]:
    """Matrix products a second here, and pictures a second in another thread or process."""
    count = multiprocessing.Value("i", 0)
    stop = threading.Event() if threaded else multiprocessing.Event()
    worker = (threading.Thread if threaded else multiprocessing.Process)(target=_decode, args=(folder, stop, count))
    worker.start()
    while not count.value:
        time.sleep(0.01)
    a, products, first, began = torch.rand(400, 400), 0, count.value, time.perf_counter()
    while time.perf_counter() < began + 1:
        torch.mm(a, a)
        products += 1
    passed, pictures = time.perf_counter() - began, count.value - first
    stop.set()
    worker.join()
    return products / passed, pictures / passed


def _decoding(folder: Path, rounds: int) -> None:
    pairs = [[_beside(folder, threaded) for threaded in (True, False)] for _ in range(rounds)]
    for which, column in zip(("thread", "process"), zip(*pairs, strict=True), strict=True):
        products, decoded = (statistics.median(values) for values in zip(*column, strict=True))
        print(
            f"pictures decoded in a {which:8} {decoded:5.0f} a second, beside {products:5.0f} products of matrices here"
        )


def measure(folder: Path, rounds: int, only: str) -> None:
    """Compare the cases with a word in their name, and decode photographs; print a line for each."""
    for name, task, contestant, given in CASES:
        label = " ".join([name, task, contestant, *given])
        if only in label:
            _compare(label, _begin(name, task, contestant, given, Root(folder=folder)), rounds)
    if only in "photographs":
        _decoding(folder, rounds)
