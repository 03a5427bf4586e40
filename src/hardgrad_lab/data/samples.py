"""A few hundred rows of each set in one small file, for smoke runs and tests without a download.

A root folder that holds ``samples.npz`` serves every set that is not in it itself: `mnist`, `cifar10`, `omniglot` and
`binarized` look here first and leave it where they find any file of the whole set, or may download it. What they return
then says that it is a sample. The rows are real ones, as `pick_samples` chose them; no number that a network reaches on
them is worth comparing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import File, Root

NAME = "samples.npz"
PARTS = ("fit", "valid", "test")  # as stored; ``train`` is the first two
DIGEST = "738effe60a41e699f93373365e0262d6a3210be97fdae0c3d6c5642b05c5517a"
SAMPLES = File(what="samples of the data sets", digests={NAME: DIGEST})
CURE = "copy it again, or point --data at the folder that holds the whole sets"


def stand_in(root: Root, whole: Iterable[File]) -> bool:
    """Return whether samples are to be taken in place of a set.

    Args:
        root: where the files are.
        whole: the files of the set; any of them is enough to want the set itself.
    """
    return not root.download and root.has(SAMPLES) and not any(root.has(file) for file in whole)


def load(root: Root, name: str, split: str) -> Images:
    """Return the sampled rows of one split of one set.

    Args:
        root: a folder with ``samples.npz`` in it.
        name: of the set: ``MNIST``, ``Fashion-MNIST``, ``CIFAR-10``, ``Omniglot`` or ``statically
            binarized MNIST``.
        split: ``train``, ``fit``, ``valid`` or ``test``.

    Returns:
        The rows, in which the classes take turns; fit comes before valid in train.

    Raises:
        DamagedDataError: if the file is not what it should be.
    """
    path = root.get(SAMPLES)
    parts = ("fit", "valid") if split == "train" else (split,)
    with np.load(path) as content:
        if f"{name} classes" not in content:
            raise DamagedDataError(f"data: {path} has no samples of {name}; {CURE}")
        x, y = (np.concatenate([content[f"{name} {part} {what}"] for part in parts]) for what in "xy")
        classes = tuple(str(each) for each in content[f"{name} classes"])
    what = f"{name}, a sample for trial runs: {len(x):,} of the rows of {split}, the classes in equal parts"
    return Images(x=torch.from_numpy(x), y=torch.from_numpy(y.astype(np.int64)), classes=classes, what=what)
