"""What feeding costs: steps on batches from a stream against the same steps on one resident batch, as ratios.

Usage: python benchmarks/data.py [--rounds 15] [--data FOLDER]

- a density model of two hidden layers on batches of 100 digits, binarized anew at every visit;
- a small residual network on batches of 128 pictures of 32 x 32, shifted and mirrored;
- where a folder of data is given: photographs of about 500 x 375, a random part of each to 224 x 224, decoded in a
  thread or in a process beside a thread that computes. What Python's lock costs is what the thread falls behind.

Rounds of two contestants take turns. The ratio is the median over rounds of their times, so a machine that slows down
slows both.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data.binarized import draw
from hardgrad_lab.data.folder import TRIES, Anywhere, find, read
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.prepare import CIFAR10_MEAN, CIFAR10_STD, InTurn, Shifted, Standardised, mirrored
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.stream import Resident

Batches = Callable[[], tuple[Tensor, Tensor]]


def pictures(rows: int, channels: int, side: int) -> Images:
    x = torch.randint(0, 256, (rows, channels, side, side), dtype=torch.uint8)
    return Images(x=x, y=torch.randint(0, 10, (rows,)), classes=(), what="noise")


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(hidden)))


class Density(nn.Module):
    """The published density model: one hidden layer a side, 200 Bernoulli units behind a bridge."""

    def __init__(self, *, bridge: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.Sigmoid())
        approximator = hg.approximators.mlp(200, 200, hidden=(100, 100))
        self.units = hg.Bridge(hg.hard.bernoulli, approximator) if bridge else nn.Identity()
        self.decoder = nn.Sequential(nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 784))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        del y
        p = self.encoder(x.flatten(1))
        error = F.binary_cross_entropy_with_logits(self.decoder(self.units(p)), x.flatten(1), reduction="sum")
        divergence = math.log(2) * p.numel() - F.binary_cross_entropy(p, p.detach(), reduction="sum")
        return (error + divergence) / len(x)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        body = [nn.Conv2d(3, 16, 3, padding=1), Residual(16), nn.AvgPool2d(2), Residual(16), nn.AdaptiveAvgPool2d(1)]
        self.layers = nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 10))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.layers(x), y)


def seconds(batches: Batches, loss: nn.Module, steps: int) -> tuple[float, float]:
    """Of the thread's own time and of the wall's: everything runs in this thread, and its time is disturbed less."""
    optimizer = torch.optim.Adam(loss.parameters(), 3e-4, fused=True)
    began = time.thread_time(), time.perf_counter()
    for _ in range(steps):
        x, y = batches()
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    return time.thread_time() - began[0], time.perf_counter() - began[1]


def compare(name: str, stream: Resident, loss: nn.Module, rounds: int) -> None:
    x, y = (part.clone() for part in stream.batch())
    steps = max(3, round(0.5 / seconds(lambda: (x, y), loss, 3)[0]))
    fixed, fed = [], []
    for _ in range(rounds):
        fixed.append(seconds(lambda: (x, y), loss, steps))
        fed.append(seconds(stream.batch, loss, steps))
    for clock, which in enumerate(("thread", "wall")):
        ratios = sorted(a[clock] / b[clock] for a, b in zip(fixed, fed, strict=True))
        low, middle, high = (ratios[round(share * (rounds - 1))] for share in (0.25, 0.5, 0.75))
        one, streamed = (1e3 * statistics.median(row[clock] for row in rows) / steps for rows in (fixed, fed))
        print(
            f"{name:40} {which:6} one batch {one:7.2f} ms, stream {streamed:7.2f} ms a step: "
            f"speed {middle:.3f} of it (quartiles {low:.3f} to {high:.3f})"
        )


def decode(folder: Path, stop: Any, count: Any) -> None:
    """Read pictures until told to stop, in a thread or a process of its own."""
    listing = find(Root(folder=folder), "photos/imagenet-det10", "train")
    chance = torch.rand(TRIES, 4)
    while not stop.is_set():
        read(listing.path(count.value % len(listing)), 224, Anywhere(), chance)
        count.value += 1


def beside(folder: Path, threaded: bool) -> tuple[float, float]:
    """Matrix products a second here, and pictures a second in another thread or process."""
    count = multiprocessing.Value("i", 0)
    stop = threading.Event() if threaded else multiprocessing.Event()
    worker = (threading.Thread if threaded else multiprocessing.Process)(target=decode, args=(folder, stop, count))
    worker.start()
    while not count.value:
        time.sleep(0.01)
    a, products, first, began = torch.rand(400, 400), 0, count.value, time.perf_counter()
    while time.perf_counter() < began + 1:
        a @ a
        products += 1
    passed, pictures = time.perf_counter() - began, count.value - first
    stop.set()
    worker.join()
    return products / passed, pictures / passed


def decoding(folder: Path, rounds: int) -> None:
    pairs = [[beside(folder, threaded) for threaded in (True, False)] for _ in range(rounds)]
    for which, column in zip(("thread", "process"), zip(*pairs, strict=True), strict=True):
        products, decoded = (statistics.median(values) for values in zip(*column, strict=True))
        print(
            f"pictures decoded in a {which:8} {decoded:5.0f} a second, beside {products:5.0f} products of matrices here"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    grey = Resident(pictures(60000, 1, 28), batch=100, seed=0)
    compare("dense autoencoder, 100 digits, grey", grey, Density(bridge=False), options.rounds)
    drawn = Resident(pictures(60000, 1, 28), batch=100, seed=0, prepare=draw)
    compare("dense autoencoder, 100 digits, drawn", drawn, Density(bridge=False), options.rounds)
    compare("density model, 100 digits, drawn", drawn, Density(bridge=True), options.rounds)
    shown = InTurn([Shifted(4), mirrored, Standardised(CIFAR10_MEAN, CIFAR10_STD)])
    colours = Resident(pictures(50000, 3, 32), batch=128, seed=0, prepare=shown, drop_last=True)
    compare("residual network, 128 pictures, shifted", colours, Classifier(), options.rounds)
    if options.data:
        decoding(options.data, options.rounds)


if __name__ == "__main__":
    main()
