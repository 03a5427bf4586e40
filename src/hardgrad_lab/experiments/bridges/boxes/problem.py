"""What is to be learned from what: dry rows, the network before the box, and the hidden one that makes the targets."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hardgrad_lab.data.recordings import Signal
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.boxes import Trial
from hardgrad_lab.experiments.bridges.boxes.programs import RATE
from hardgrad_lab.experiments.switches.waveshaper.run import TESTS, TRAIN, recording

TAPS, BANDS, BINS, KNOBS, KERNEL = 32, 8, 24, 10, 5
EVERY = 4  # samples of a recording, 44,100 a second, that are averaged to one


class Filter(nn.Module):
    """A causal filter, (B, n) -> (B, n), at first the identity; taps (B, 32) are one for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Parameter(functional.one_hot(torch.tensor(0), TAPS).float())

    def forward(self, x: Tensor, taps: Tensor | None = None) -> Tensor:
        kernels = (self.taps if taps is None else taps).expand(len(x), TAPS).flip(-1)[:, None]
        filtered: Tensor = functional.conv1d(functional.pad(x, (TAPS - 1, 0))[None], kernels, groups=len(x))[0]
        return filtered


class Controller(nn.Module):
    """Ten knobs from the bands of a sound, before the sound itself: (B, n) -> (B, 10 + n); spread 0 is all at 0.5."""

    def __init__(self, spread: float = 0.0) -> None:
        super().__init__()
        last = nn.Linear(32, KNOBS)
        nn.init.normal_(last.weight, std=spread)
        nn.init.normal_(last.bias, std=2 * spread)
        self.layers = nn.Sequential(nn.Linear(BANDS, 32), nn.Tanh(), last, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        power = torch.fft.rfft(x).abs().square()
        places = torch.logspace(0, math.log10(power.shape[1] - 1), BANDS * BINS).long()
        bands = power[:, places].unflatten(1, (BANDS, BINS)).mean(-1)
        return torch.cat([self.layers((bands + 1e-3).log() / 4), x], 1)  # a fourth of it is about 1


class Approximator(nn.Module):
    """Causal convolutions of 425 samples beside the identity, (B, knobs + n) -> (B, n), at first the sound itself.

    Knobs multiply the channels (FiLM: Perez et al. 2018, arXiv 1709.07871).
    """

    def __init__(self, knobs: int, width: int = 16) -> None:
        super().__init__()
        self.knobs = knobs
        self.gains = nn.Sequential(nn.Linear(knobs, 32), nn.Tanh(), nn.Linear(32, 3 * width)) if knobs else None
        self.layers = nn.ModuleList(
            nn.Conv1d(width if i else 1, width if i < 3 else 1, KERNEL, dilation=4**i) for i in range(4)
        )
        for weights in self.layers[-1].parameters():
            nn.init.zeros_(weights)

    def forward(self, x: Tensor) -> Tensor:
        y = sound = x[:, None, self.knobs :]
        gains = None if self.gains is None else self.gains(x[:, : self.knobs]).unflatten(1, (3, -1))
        for i, layer in enumerate(self.layers):
            y = layer(functional.pad(y.tanh() if i else y, ((KERNEL - 1) * 4**i, 0)))
            if gains is not None and i < 3:
                y = y * gains[:, i, :, None].exp()
        approximation: Tensor = (sound + y)[:, 0]
        return approximation


def strange_taps(count: int) -> Tensor:
    """Return the taps of filters like the hidden one, (count, 32)."""
    noise = torch.randn(count, TAPS) * torch.exp(-torch.arange(TAPS) / 8)
    taps: Tensor = functional.one_hot(torch.tensor(0), TAPS) + 0.4 * noise / noise.norm(dim=1, keepdim=True)
    return taps


def hidden(trial: Trial, x: Tensor) -> nn.Module:
    """Return what makes the targets, by torch's global seed; a filter leaves dry rows as loud as they are."""
    if trial.task == "knobs":
        return Controller(spread=0.4)
    found = Filter()
    with torch.no_grad():
        found.taps.copy_(strange_taps(1)[0])
        found.taps.mul_((x.square().sum() / found(x).square().sum()).sqrt())
    return found


def rows_of(trial: Trial, root: Root, seed: int) -> list[Tensor]:
    """Return 192 dry rows to train on and 24, of other recordings, to be tested on; the loudest sample of each is 0.9.

    Raises:
        DataError: if a recording is not there, or damaged.
    """
    random, parts = np.random.default_rng(seed), []
    for names, count in ((TRAIN, 192), (tuple(TESTS.values()), 24)):
        sounds = [] if trial.source == "drawn" else [recording(root, name)[0] for name in names]
        rows = [_row(sounds[i % len(sounds)] if sounds else None, trial.length, random) for i in range(count)]
        parts.append(torch.from_numpy(np.stack([0.9 * row / np.abs(row).max() for row in rows])).float())
    return parts


def _row(sound: Signal | None, length: int, random: np.random.Generator) -> Signal:
    """Return a part of a sound that is not silent, or a drawn tone that dies away."""
    if sound is None:
        time = np.arange(length) / RATE
        return np.exp(-random.uniform(3, 30) * time) * np.sin(2 * np.pi * random.uniform(80, 800) * time)
    while True:
        at = random.integers(max(len(sound) - EVERY * length, 0) + 1)
        part = sound[at : at + EVERY * length]
        row: Signal = np.pad(part, (0, EVERY * length - len(part))).reshape(length, EVERY).mean(1)
        if np.abs(row).max() > 0.05:
            return row
