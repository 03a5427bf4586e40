"""Make ``samples.npz`` from the whole sets: the same rows every time, without any draw.

Usage: python -m hardgrad_lab.data.pick_samples FILE [--data FOLDER]

Of each class the rows at equal distances in the order of the set are taken, and the classes take turns in the file. The
last line printed is the checksum that belongs into `samples`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hardgrad_lab.data import binarized, cifar10, mnist, omniglot
from hardgrad_lab.data.checksum import digest_of
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.samples import PARTS
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


def main() -> None:
    """Write the file that the command line names, and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the whole sets; by default what HARDGRAD_DATA says")
    options = parser.parse_args()
    make(Root(folder=options.data), options.file)
    print(f"{options.file}: {options.file.stat().st_size:,} bytes\n{digest_of(options.file, 'sha256')}")


if __name__ == "__main__":
    main()
