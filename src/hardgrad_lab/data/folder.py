"""Photographs in a folder a class (ImageFolder's layout), ImageNet above all: finding them, and reading one.

``ROOT/NAME/SPLIT/CLASS/any/file.JPEG``: classes are numbered in the order of their names, so ImageNet's are numbered as
everywhere. `pictures` feeds them to a training loop, `kept` decodes them once and for all.

Source: Deng et al. 2009, ImageNet; the random crop is that of Szegedy et al. 2015, arXiv:1409.4842, section 6.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hardgrad_lab.data.errors import DamagedDataError, MissingDataError
from hardgrad_lab.data.images import require_rows
from hardgrad_lab.data.root import Root

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"})
TRIES = 10  # at a random crop that fits, before the middle is taken
IMAGENET = {"train": 1281167, "val": 50000}  # files of its 1,000 classes


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one split.

    Args:
        folder: that holds a folder for each class.
        files: paths within it, class after class, each class in the order of names.
        y: (n,), int64, the class of each.
        classes: names, in order.
        what: these are, for the record of a run.
    """

    folder: Path
    files: Sequence[str]
    y: Tensor
    classes: tuple[str, ...]
    what: str

    def __len__(self) -> int:
        return len(self.files)

    def path(self, row: int) -> Path:
        """Return where a row's picture lies."""
        return self.folder / self.files[row]


def find(root: Root, name: str, split: str, *, classes: tuple[str, ...] | None = None, rows: int = 0) -> Listing:
    """List the pictures of one split. None is opened.

    Args:
        root: where the set lies.
        name: of its folder in the root, such as ``imagenet`` or ``photos/imagenette224``.
        split: of its folder in that, such as ``train`` or ``val``.
        classes: there must be, such as those of the training split; None takes what there is.
        rows: there must be, such as ``IMAGENET[split]``; 0 takes what there is.

    Returns:
        The listing.

    Raises:
        MissingDataError: if the folder is not there or has no class in it.
        DamagedDataError: if a class has no picture, or classes or rows are not those asked for.
    """
    folder = root.path() / name / split
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []
    if not found:
        raise MissingDataError(
            f"data: {folder} is not there or holds no folder a class; put the pictures there as CLASS/file.jpg, or "
            "point --data at the folder that holds them. They are not fetched: ImageNet, for one, is given out on "
            "agreement alone, at https://image-net.org"
        )
    if classes is not None and tuple(found) != classes:
        differing = sorted(set(found) ^ set(classes))[:5]
        raise DamagedDataError(f"data: {folder} has other classes than it should, among them {', '.join(differing)}")
    files = {name: list(_files(folder, name)) for name in found}
    empty = [name for name, members in files.items() if not members]
    if empty:
        raise DamagedDataError(
            f"data: {folder} has no picture in {', '.join(empty[:5])}; add some or remove the folder"
        )
    y = torch.repeat_interleave(torch.arange(len(found)), torch.tensor([len(members) for members in files.values()]))
    if rows:
        require_rows(str(folder), len(y), rows, "copy it again")
    what = f"{name}/{split}, {len(y):,} pictures of {len(found):,} classes"
    return Listing(folder=folder, files=list(chain(*files.values())), y=y, classes=tuple(found), what=what)


def _files(folder: Path, name: str) -> Iterator[str]:
    """Yield the pictures of a class in the order of their names, folders within it too."""
    for entry in sorted(os.scandir(folder / name), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(folder, f"{name}/{entry.name}")
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield f"{name}/{entry.name}"


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
Crop = Callable[[int, int, Tensor], Box]


@dataclass(frozen=True)
class Middle:
    """The square in the middle of a picture.

    Args:
        share: of its shorter side; 224 / 256 is customary for the evaluation of classifiers.

    Example:
        >>> Middle()(500, 300, torch.empty(0))
        (100.0, 0.0, 400.0, 300.0)
    """

    share: float = 1.0

    def __call__(self, width: int, height: int, chance: Tensor) -> Box:
        del chance
        side = self.share * min(width, height)
        return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


@dataclass(frozen=True)
class Anywhere:
    """A part of random area, shape and place; it is stretched to a square.

    Args:
        area: least and greatest share of the picture's.
        shape: least and greatest width by height; its logarithm is uniform.

    Example:
        >>> Anywhere(area=(1.0, 1.0), shape=(1.0, 1.0))(300, 300, torch.rand(TRIES, 4))
        (0.0, 0.0, 300.0, 300.0)
    """

    area: tuple[float, float] = (0.08, 1.0)
    shape: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, width: int, height: int, chance: Tensor) -> Box:
        low, high = (math.log(end) for end in self.shape)
        for area, shape, across, down in chance.tolist():
            pixels = width * height * (self.area[0] + (self.area[1] - self.area[0]) * area)
            ratio = math.exp(low + (high - low) * shape)
            wide, tall = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                left, top = int(across * (width - wide + 1)), int(down * (height - tall + 1))
                return float(left), float(top), float(left + wide), float(top + tall)
        return self._nearest_to_whole(width, height)

    def _nearest_to_whole(self, width: int, height: int) -> Box:
        """Return the largest part in the middle whose shape is allowed."""
        ratio = min(max(width / height, self.shape[0]), self.shape[1])
        wide, tall = min(width, height * ratio), min(height, width / ratio)
        return (width - wide) / 2, (height - tall) / 2, (width + wide) / 2, (height + tall) / 2


def read(path: Path, side: int, crop: Crop, chance: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a part of a picture as a square of bytes.

    The filter that shrinks the part sees a little beyond its edges. Grey pictures get three equal channels,
    transparency is dropped, and the camera's note of how it was held is not heeded. A JPEG of four times the size asked
    for, or more, is decoded at a half of its own, a quarter or an eighth.

    Args:
        path: of the picture.
        side: pixels of what comes out.
        crop: chooses the part.
        chance: (TRIES, 4), uniform, what the crop may use.

    Returns:
        (side, side, 3).

    Raises:
        DamagedDataError: if it cannot be decoded.
    """
    from PIL import Image  # so that the sets of bytes need no Pillow

    try:
        with Image.open(path) as picture:
            box = crop(*picture.size, chance)
            pixels, box = _decoded(picture, box, side)
            return np.asarray(pixels.resize((side, side), Image.Resampling.BILINEAR, box=box))
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedDataError(f"data: {path} cannot be decoded ({error}); copy it again, or take it out") from None


def _decoded(picture: Image, box: Box, side: int) -> tuple[Image, Box]:
    """Return the pixels and the box in them, decoded no larger than need be."""
    width, height = picture.size
    # Never below twice what is asked: down to just that, the mean grey level of a pixel was off by 2.0 of 255 on
    # photographs at 96 x 96, and by 0.2 at twice.
    shrink = min(box[2] - box[0], box[3] - box[1]) / (2 * side)
    if shrink >= 2:
        picture.draft("RGB", (math.ceil(width / shrink), math.ceil(height / shrink)))  # JPEG alone heeds it
    across, down = picture.width / width, picture.height / height
    right, bottom = (
        min(box[2] * across, picture.width),
        min(box[3] * down, picture.height),
    )  # rounding may pass the edge
    return picture.convert("RGB"), (box[0] * across, box[1] * down, right, bottom)
