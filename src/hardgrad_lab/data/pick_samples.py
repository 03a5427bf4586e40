"""Make ``samples.npz`` from the whole sets, and small photographs: the same every time, without any draw.

Usage: python -m hardgrad_lab.data.pick_samples FOLDER [--data FOLDER]

Of each class the rows at equal distances in the order of the set are taken, and the classes take turns in the file. The
photographs are those of scikit-image that are free to pass on, shrunk. The last line printed is the checksum that
belongs into `samples`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hardgrad_lab.data import binarized, cifar10, mnist, omniglot
from hardgrad_lab.data.checksum import digest_of
from hardgrad_lab.data.folder import find
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.samples import NAME, PARTS
from hardgrad_lab.runs.atomic import write_atomically

# Rows of each class in the parts, about in proportion to the whole set's. A picture of CIFAR-10 takes 2.8 kB, one of
# Fashion-MNIST 0.4, one of the others less: the file stays just over a megabyte.
EACH = {
    "MNIST": (25, 5, 10),
    "Fashion-MNIST": (25, 5, 10),
    "statically binarized MNIST": (25, 5, 10),
    "Omniglot": (5, 1, 2),
    "CIFAR-10": (18, 2, 8),
}

PHOTOGRAPHS = "photos/free"
OTHERS = ("china.jpg", "flower.jpg")  # of scikit-learn, beside them: to be passed on with their authors' names alone
SIDE = 96  # pixels of a photograph's longer side


def make(root: Root, path: Path) -> None:
    """Write the samples.

    Args:
        root: where the whole sets are.
        path: the file to write.

    Raises:
        DataError: if a set is missing or damaged.
    """
    arrays = {}
    for name, numbers in EACH.items():
        for part, each in zip(PARTS, numbers, strict=True):
            images = read(root, name, part)
            chosen = spread_out(images.y, each)
            arrays[f"{name} {part} x"] = images.x[chosen].numpy()
            arrays[f"{name} {part} y"] = images.y[chosen].numpy().astype(np.uint8)
            arrays[f"{name} classes"] = np.array(images.classes)
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read(root: Root, name: str, part: str) -> Images:
    """Return the rows of a part of a set that is called as in ``EACH``."""
    if name == "statically binarized MNIST":
        return binarized.static(root, part)
    if name == "Omniglot":
        return omniglot.load(root, part)
    if name == "CIFAR-10":
        return cifar10.load(root, part)
    return mnist.load(root, part, mnist.MNIST if name == "MNIST" else mnist.FASHION)


def spread_out(y: Tensor, each: int) -> Tensor:
    """Return the numbers of ``each`` rows of every class, at equal distances, the classes taking turns.

    Example:
        >>> spread_out(torch.tensor([0, 0, 0, 0, 1, 1]), 2).tolist()
        [0, 4, 2, 5]
    """
    rows = [torch.nonzero(y == label).flatten() for label in range(int(y.max()) + 1)]
    taken = [numbers[torch.arange(each) * len(numbers) // each] for numbers in rows]
    return torch.stack(taken, dim=1).flatten()


def shrink(root: Root, folder: Path) -> None:
    """Write the photographs as small JPEGs, in the same classes, below a folder.

    Args:
        root: where they are, a folder a class.
        folder: to write ``photos/free/train`` and ``val`` into.

    Raises:
        DataError: if they are missing.
    """
    for split in ("train", "val"):
        listing = find(root, PHOTOGRAPHS, split)
        for row in range(len(listing)):
            if listing.path(row).name in OTHERS:
                continue
            path = (folder / PHOTOGRAPHS / split / listing.files[row]).with_suffix(".jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(listing.path(row)) as picture:
                small = picture.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(path, quality=90)


def main() -> None:
    """Write what the command line asks for, and print the file's size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the whole sets; by default what HARDGRAD_DATA says")
    options = parser.parse_args()
    root, path = Root(folder=options.data), options.folder / NAME
    make(root, path)
    shrink(root, options.folder)
    print(f"{path}: {path.stat().st_size:,} bytes\n{digest_of(path, 'sha256')}")


if __name__ == "__main__":
    main()
