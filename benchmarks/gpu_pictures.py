"""Table VI on a slice of CIFAR-10, small enough to be sent to a machine without a network.

``python benchmarks/gpu_pictures.py pack DATA OUT`` makes the slice of the whole set; any other arguments are those of
``hardgrad``, which then finds the slice in the folder that ``--data`` names. A record is the one that the whole set
gives with ``--rows 20000 --test-rows 4000``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hardgrad_lab import cli
from hardgrad_lab.data import cifar10
from hardgrad_lab.data.images import Images, tensor
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.classify import run

ROWS, ACROSS, SIDE = {"train": 20_000, "test": 4_000}, 100, cifar10.SIDE
OF = {"train": "the 50,000 official training rows", "test": "the 10,000 official test rows"}


def pack(data: Path, out: Path) -> None:
    """Write the first rows of each split as one lossless picture, and their labels."""
    for split, rows in ROWS.items():
        images = cifar10.load(Root(folder=data), split)
        pictures = images.x[:rows].view(rows // ACROSS, ACROSS, 3, SIDE, SIDE).permute(0, 3, 1, 4, 2)
        mosaic = pictures.reshape(rows // ACROSS * SIDE, ACROSS * SIDE, 3).numpy()
        Image.fromarray(mosaic).save(out / f"slice-{split}.webp", lossless=True, quality=100, method=4)
        np.save(out / f"slice-{split}.npy", images.y[:rows].to(torch.uint8).numpy())


def whole(root: Root, split: str) -> Images:
    """Return a split as the experiment asks for it: of the rows that are here."""
    x = cifar10.read_mosaic(root.path() / f"slice-{split}.webp", ROWS[split], ACROSS)
    y = torch.from_numpy(np.load(root.path() / f"slice-{split}.npy").astype(np.int64))
    return Images(
        x=tensor(x), y=y, classes=cifar10.CIFAR10.classes, what=f"CIFAR-10, {OF[split]}, the first {len(y):,}"
    )


if __name__ == "__main__":
    if sys.argv[1] == "pack":
        pack(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        run.whole = whole  # type: ignore[assignment]  # the slice stands in for the loader of all
        cli.main()
