"""What is to be learned: dry rows, the network before the box, and the hidden one that made the targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.boxes import KNOBS, Trial
from hardgrad_lab.experiments.bridges.boxes.programs import RATE, Box
from hardgrad_lab.experiments.switches.waveshaper.run import TESTS, TRAIN, recording

TAPS, BANDS, EVERY = 32, 24, 4  # recordings of 44,100 samples a second are averaged over EVERY
TRAIN_ROWS, TEST_ROWS = 192, 24


class Filter(nn.Module):
    """A filter of 32 taps, first the identity: (B, n) -> (B, n); with weights of its own for each row if they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Parameter(functional.one_hot(torch.tensor(0), TAPS).float())

    def forward(self, x: Tensor, taps: Tensor | None = None) -> Tensor:
        kernels = (self.taps if taps is None else taps).expand(len(x), TAPS).flip(-1)[:, None]
        return functional.conv1d(functional.pad(x, (TAPS - 1, 0))[None], kernels, groups=len(x))[0]


class Convolutions(nn.Module):
    """Causal convolutions beside the identity, which alone they are at first: (B, n) -> (B, n).

    Args:
        width: channels between.
        extra: further inputs, at the head of each row: constant channels.
    """

    def __init__(self, width: int, extra: int = 0) -> None:
        super().__init__()
        sizes = [1 + extra, width, width, width, 1]
        self.layers = nn.ModuleList(nn.Conv1d(a, b, 5, dilation=4**i) for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        sound = x[:, self.extra :]
        y = torch.cat([sound[:, None], x[:, : self.extra, None].expand(-1, -1, sound.shape[1])], 1)
        for i, layer in enumerate(self.layers):
            y = layer(functional.pad(y if i == 0 else y.tanh(), (4 * 4**i, 0)))
        return sound + y[:, 0]


class Controller(nn.Module):
    """Ten knobs from a sound, followed by the sound itself: (B, n) -> (B, 10 + n)."""

    def __init__(self, spread: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(BANDS, 32), nn.Tanh(), nn.Linear(32, KNOBS))
        nn.init.normal_(self.net[2].weight, std=spread) if spread else nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        power = torch.fft.rfft(x).abs().square()[:, 1:]
        edges = torch.logspace(0, math.log10(power.shape[1]), BANDS + 1).long().clamp(max=power.shape[1] - 1)
        bands = torch.stack([power[:, a : max(b, a + 1)].mean(1) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)], 1)
        return torch.cat([self.net((bands + 1e-3).log() / 4).sigmoid(), x], 1)


def rows_of(trial: Trial, root: Root, seed: int) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    if trial.source == "drawn":
        return drawn(trial, random, TRAIN_ROWS), drawn(trial, random, TEST_ROWS)
    return tuple(cut(trial, [recording(root, name)[0] for name in names], random, n) for names, n in ((TRAIN, TRAIN_ROWS), (TESTS.values(), TEST_ROWS)))


def cut(trial, sounds, random, count):
    rows = []
    while len(rows) < count:
        sound = sounds[len(rows) % len(sounds)]
        sound = sound[: len(sound) // EVERY * EVERY].reshape(-1, EVERY).mean(1)
        at = random.integers(max(len(sound) - trial.length, 0) + 1)
        row = sound[at : at + trial.length]
        row = np.pad(row, (0, trial.length - len(row)))
        if np.abs(row).max() > 0.05:
            rows.append(0.9 * row / np.abs(row).max())
    return torch.from_numpy(np.stack(rows)).float()


def drawn(trial, random, count):
    time = np.arange(trial.length) / RATE
    rows = []
    for _ in range(count):
        pitch, decay = random.uniform(80, 400), random.uniform(3, 30)
        row = np.exp(-decay * time) * (np.sin(6.283 * pitch * time) + 0.5 * np.sin(12.566 * 1.5 * pitch * time)) + 0.1 * random.standard_normal(len(time)) * np.exp(-3 * decay * time)
        rows.append(0.9 * row / np.abs(row).max())
    return torch.from_numpy(np.stack(rows)).float()


def hidden(trial: Trial, x: Tensor, seed: int) -> nn.Module:
    """Return what made the targets; a filter leaves dry rows as loud as they are."""
    torch.manual_seed(seed)
    if trial.task == "knobs":
        return Controller(spread=0.6)
    found = Filter()
    found.taps.data = strange_taps(1)[0]
    with torch.no_grad():
        found.taps.data *= (x.square().sum() / found(x).square().sum()).sqrt()
    return found


def strange_taps(count: int) -> Tensor:
    noise = torch.randn(count, TAPS) * torch.exp(-torch.arange(TAPS) / 8)
    return functional.one_hot(torch.tensor(0), TAPS) + 0.6 * noise / noise.norm(dim=1, keepdim=True)
