"""The pictures of `latents`: batches to train on, and passes in order for what is measured.

Training pictures are the official training rows, test pictures the official test rows; of a folder of pictures,
``train`` and ``val``. Nothing is chosen on the test rows. Pixels go from 0 to 1; photographs are cut at random in
training, and in the middle when they are measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hardgrad_lab.data import cifar10, folder, mnist
from hardgrad_lab.data.folder import Listing, Middle
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.pictures import Pictures
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.stream import Resident, in_order
from hardgrad_lab.experiments.bridges.latents import Latents
from hardgrad_lab.runs import spread

AT_ONCE = 500  # rows in a batch of a pass, at 32 x 32; fewer of larger pictures


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Training and test rows, in memory or as files.

    Args:
        train: rows to train on.
        test: rows to measure.
    """

    train: Images | Listing
    test: Images | Listing

    @property
    def classes(self) -> int:
        """Return how many classes there are."""
        return len(self.train.classes)


@lru_cache(maxsize=1)  # the runs of a sweep follow each other, and CIFAR-10 takes seconds to decode
def load(root: Root, dataset: str, name: str) -> Pair:
    """Return the rows of a data set.

    Args:
        root: where data sets lie.
        dataset: of ``latents.Dataset``.
        name: of the folder of ``imagenet``.

    Raises:
        DataError: if something is missing or damaged.
    """
    match dataset:
        case "fashion-mnist":
            return Pair(train=mnist.load(root, "train", mnist.FASHION), test=mnist.load(root, "test", mnist.FASHION))
        case "cifar10":
            return Pair(train=cifar10.load(root, "train"), test=cifar10.load(root, "test"))
        case _:
            train = folder.find(root, name, "train")
            return Pair(train=train, test=folder.find(root, name, "val", classes=train.classes))


def stream(config: Latents, rows: Images | Listing, seed: int, device: torch.device) -> Resident | Pictures:
    """Return training batches without end, each whole: networks normalise over it."""
    share, rank, world = spread.share(config.batch), spread.rank(), spread.world()
    if isinstance(rows, Images):
        return Resident(rows, batch=share, seed=seed, device=device, drop_last=True, rank=rank, world=world)
    return Pictures(
        rows, side=config.side, batch=share, seed=seed, device=device, drop_last=True, rank=rank, world=world
    )


def passes(
    config: Latents, rows: Images | Listing, count: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go once through ``count`` rows, evenly spread over all; 0 goes through all.

    Returns:
        Pairs of pictures (B, channels, side, side), from 0 to 1, and labels (B,).
    """
    chosen = torch.linspace(0, len(rows) - 1, min(count or len(rows), len(rows))).long()
    batch = max(1, AT_ONCE * 32 * 32 // config.side**2)
    if isinstance(rows, Images):
        yield from in_order(rows.take(chosen, "evenly spread"), batch=batch, device=device)
        return
    no_chance = torch.empty(0)
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for part in chosen.split(batch):
            read = threads.map(lambda row: folder.read(rows.path(row), config.side, Middle(), no_chance), part.tolist())
            pixels = torch.from_numpy(np.stack(list(read))).permute(0, 3, 1, 2)
            yield pixels.to(device).float() / 255, rows.y[part].to(device)
