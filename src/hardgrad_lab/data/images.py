"""What every reader returns: pictures as bytes, what is on them, and words on which rows exactly these are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardgrad_lab.data.errors import DamagedDataError

SPLITS = ("train", "fit", "valid", "test")


class SplitError(ValueError):
    """A split that a data set does not have."""

    def __init__(self, split: str, known: Iterable[str] = SPLITS) -> None:
        super().__init__(f"split must be one of {', '.join(known)}, got {split!r}")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Rows of one split.

    Args:
        x: (n, channels, height, width), bytes from 0 to 255; bits are 0 and 1.
        y: (n,), int64, the class, from 0.
        classes: their names, by number.
        what: which rows these are, exactly enough for the record of a run.

    Example:
        >>> rows = Images(x=torch.zeros(4, 1, 2, 2, dtype=torch.uint8), y=torch.arange(4), classes=(), what="blank")
        >>> rows.take(slice(1, 3), "two").y
        tensor([1, 2])
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    what: str

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Images:
        """Return the rows on a device, for an evaluation that comes again and again."""
        return Images(x=self.x.to(device), y=self.y.to(device), classes=self.classes, what=self.what)

    def take(self, index: Tensor | slice, what: str) -> Images:
        """Return some of the rows, and say which."""
        return Images(x=self.x[index], y=self.y[index], classes=self.classes, what=f"{self.what}: {what}")


def split_tail(train: Images, split: str, held_out: int) -> Images:
    """Return all training rows, or those before the last ``held_out``, or these.

    Args:
        train: the training rows, in the order that decides.
        split: ``train`` for all, ``fit`` for the first, ``valid`` for the last.
        held_out: how many rows are for validation.
    """
    first = len(train) - held_out
    if split == "train":
        return train
    if split == "fit":
        return train.take(slice(None, first), f"the first {first:,}, to train on while the rest are for validation")
    return train.take(slice(first, None), f"the last {held_out:,}, for validation")


def require_rows(what: str, got: int, expected: int, cure: str) -> None:
    """Refuse data with another number of rows than it should have.

    Raises:
        DamagedDataError: naming both numbers.
    """
    if got != expected:
        raise DamagedDataError(f"data: {what} has {got:,} rows, it should have {expected:,}; {cure}")


def tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor of an array's content that shares no memory with a file."""
    return torch.from_numpy(np.array(array, order="C"))
