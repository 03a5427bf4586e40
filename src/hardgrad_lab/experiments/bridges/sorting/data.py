"""Sequences to sort: drawn on the fly from a seeded generator, or a fixed set shuffled anew each epoch."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from hardgrad_lab.experiments.bridges.sorting.config import Sorting
from hardgrad_lab.runs.spread import mine

TEST_SEED = 0  # one test set for all runs of a length, whatever the run's own seed


def draw(rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Return ``rows`` sequences of U(0, 1), shape (rows, length), on the generator's device."""
    return torch.rand(rows, length, generator=generator, device=generator.device)


def order(x: Tensor) -> Tensor:
    """Return what a network is to say of ``x`` (B, T): at place i of the sorted order stands number target[:, i]."""
    return x.argsort(dim=1)


def seeded(purpose: str, seed: int, device: torch.device) -> torch.Generator:
    """Return a generator whose stream no other purpose and no other seed shares."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def held_out(config: Sorting, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the test set: inputs (rows, T) and targets (rows, T).

    It is drawn on the CPU whatever the device, so that all machines are tested on the same rows.
    """
    rows = config.test_rows - config.test_rows % config.batch if config.drop_last else config.test_rows
    x = draw(rows, config.length, seeded("sorting-test", TEST_SEED, torch.device("cpu")))
    return inputs_of(x, config).to(device), order(x).to(device)


def move_close(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return ``x`` (B, T) with one number of the first rows moved close to another of the same row.

    All-or-none accuracy is lost on near ties, and U(0, 1) makes few: the closest two of ten numbers are nearer than
    1/1000 in one row of twelve. The distance is log-uniform from 1e-4 to 1e-1, on either side.

    Args:
        x: sequences.
        share: of the rows, from 0 to 1.
        generator: on x's device.

    Returns:
        A tensor of x's shape, in [0, 1].
    """
    rows = round(share * len(x))
    if rows == 0:
        return x
    first, second = torch.rand(rows, x.shape[1], generator=generator, device=x.device).topk(2).indices.unbind(1)
    magnitude, side = torch.rand(2, rows, generator=generator, device=x.device)
    distance = 10 ** (3 * magnitude - 4) * (side - 0.5).sign()
    at = x[torch.arange(rows, device=x.device), first]
    moved = torch.where((at + distance >= 0) & (at + distance <= 1), at + distance, at - distance)
    return torch.cat([x[:rows].scatter(1, second.unsqueeze(1), moved.unsqueeze(1)), x[rows:]])


def inputs_of(x: Tensor, config: Sorting) -> Tensor:
    """Return what the network is shown of ``x``."""
    return x - 0.5 if config.center_inputs else x


class FreshRows:
    """Training batches that never repeat.

    Args:
        config: length, batch and centring.
        seed: of the run.
        device: where the batches are drawn.
    """

    def __init__(self, config: Sorting, seed: int, device: torch.device) -> None:
        self.config = config
        self.generator = seeded("sorting-train", seed, device)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next inputs and targets, both (B, T)."""
        x = draw(self.config.batch, self.config.length, self.generator)
        x = mine(move_close(x, self.config.near_ties, self.generator))
        return inputs_of(x, self.config), order(x)

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["generator"])


class FixedRows:
    """Training batches from a fixed set of rows, shuffled anew each epoch, as the published program does.

    The targets are worked out per batch: 2 million rows of T=10 are 80 MB of inputs, and would be 160 MB of targets.

    Args:
        config: length, batch, centring, ``fixed_rows`` and ``drop_last``.
        seed: of the run; it decides the rows and their order.
        device: where the rows are held.
    """

    def __init__(self, config: Sorting, seed: int, device: torch.device) -> None:
        self.config = config
        self.place = 0
        generator = seeded("sorting-train", seed, device)
        self.rows = move_close(draw(config.fixed_rows, config.length, generator), config.near_ties, generator)
        self.generator = seeded("sorting-shuffle", seed, device)
        self._shuffle()

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next inputs and targets, both (B, T); the last batch of an epoch may be short."""
        if self._left() < (self.config.batch if self.config.drop_last else 1):
            self._shuffle()
        x = self.rows[self.permutation[self.place : self.place + self.config.batch]]
        self.place += len(x)
        x = mine(x)
        return inputs_of(x, self.config), order(x)

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands: the generator as it was before this epoch's shuffle, and the place in it."""
        return {"generator": self.before_shuffle, "place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["generator"])
        self._shuffle()
        self.place = state["place"]

    def _left(self) -> int:
        return self.config.fixed_rows - self.place

    def _shuffle(self) -> None:
        self.before_shuffle = self.generator.get_state()
        device = self.generator.device
        self.place = 0
        self.permutation = torch.randperm(self.config.fixed_rows, generator=self.generator, device=device)


def training_rows(config: Sorting, seed: int, device: torch.device) -> FreshRows | FixedRows:
    """Return the stream of training batches that ``config`` asks for."""
    return FixedRows(config, seed, device) if config.fixed_rows else FreshRows(config, seed, device)
