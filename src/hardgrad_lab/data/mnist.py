"""MNIST and Fashion-MNIST: idx files, packed or not, in torchvision's layout or a plain one.

Splits, of MNIST as of Fashion-MNIST:
- ``train``: the 60,000 official training rows in the official order;
- ``fit`` and ``valid``: the first 50,000 and the last 10,000 of them, the usual division where a validation set is
  wanted;
- ``test``: the 10,000 official test rows.

Source: LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition; Xiao, Rasul,
Vollgraf 2017, arXiv:1708.07747. The idx format: http://yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardgrad_lab.data import samples
from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.images import SPLITS, Images, SplitError, split_tail, tensor
from hardgrad_lab.data.root import File, Root

CURE = "move it away and put a good copy there, or let it be fetched with --download"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A data set in four idx files named as MNIST's.

    Args:
        name: of the set.
        folders: in the root, in the order in which they are looked at; what is fetched goes to the first.
        rows: of the two parts, ``train`` and ``t10k``.
        held_out: of the training rows, how many are for validation.
        side: pixels.
        classes: names, by number.
        digests: md5 by file name, packed (``.gz``) and not.
        mirrors: addresses that end in a slash; the packed file's name follows.
    """

    name: str
    folders: tuple[str, ...]
    rows: Mapping[str, int]
    held_out: int
    side: int
    classes: tuple[str, ...]
    digests: Mapping[str, str]
    mirrors: tuple[str, ...]

    def file(self, name: str) -> File:
        """Return the file of that name, unpacked first, since it is the faster to read."""
        places = {f"{folder}/{form}": self.digests[form] for folder in self.folders for form in (name, f"{name}.gz")}
        return File(
            what=f"{self.name} file {name}",
            digests=places,
            urls=[f"{mirror}{name}.gz" for mirror in self.mirrors],
            saved=f"{self.folders[0]}/{name}.gz",
        )

    def files(self) -> list[File]:
        """Return all four."""
        return [self.file(f"{part}-{kind}-ubyte") for part in self.rows for kind in ("images-idx3", "labels-idx1")]


MNIST = Kind(
    name="MNIST",
    folders=("MNIST/raw", "mnist/raw", "mnist"),
    rows={"train": 60000, "t10k": 10000},
    held_out=10000,
    side=28,
    classes=tuple("0123456789"),
    digests={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        # of the content of the four above
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
)

FASHION = Kind(
    name="Fashion-MNIST",
    folders=("FashionMNIST/raw", "fashion-mnist/raw", "fashion-mnist"),
    rows={"train": 60000, "t10k": 10000},
    held_out=10000,
    side=28,
    classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    digests={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
)


def load(root: Root, split: str, kind: Kind = MNIST) -> Images:
    """Return one split.

    Args:
        root: where the files are, or `samples` of them.
        split: ``train``, ``fit``, ``valid`` or ``test``; see the top of this module.
        kind: ``MNIST`` or ``FASHION``.

    Returns:
        x (n, 1, 28, 28), the grey levels, 255 for ink; y (n,), 0 to 9.

    Raises:
        MissingDataError: if a file is missing.
        DamagedDataError: if one is not what it should be.
        SplitError: if there is no such split.
    """
    if split not in SPLITS:
        raise SplitError(split)
    if samples.stand_in(root, kind.files()):
        return samples.load(root, kind.name, split)
    part = "t10k" if split == "test" else "train"
    rows, side = kind.rows[part], kind.side
    x = read_idx(root.get(kind.file(f"{part}-images-idx3-ubyte")), (rows, side, side))
    y = read_idx(root.get(kind.file(f"{part}-labels-idx1-ubyte")), (rows,))
    if y.max() >= len(kind.classes):
        raise DamagedDataError(f"data: {kind.name} has a label {y.max()}, over {len(kind.classes) - 1}; {CURE}")
    official = f"{kind.name}, the {rows:,} official {'test' if part == 't10k' else 'training'} rows"
    images = Images(x=tensor(x).unsqueeze(1), y=tensor(y).long(), classes=kind.classes, what=official)
    return images if split == "test" else split_tail(images, split, kind.held_out)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the bytes of an idx file.

    Args:
        path: the file, packed by gzip if its name ends so.
        shape: it must have.

    Returns:
        An array of that shape.

    Raises:
        DamagedDataError: if the file is cut short, is no idx file of bytes, or has another shape.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedDataError(f"data: {path} is damaged ({error}); {CURE}") from None
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)  # 8: unsigned bytes
    if not content.startswith(header):
        got = content[: len(header)].hex(" ")
        raise DamagedDataError(
            f"data: {path} is no idx file of bytes of shape {shape}: it starts with {got} instead of "
            f"{header.hex(' ')}; {CURE}"
        )
    pixels = np.frombuffer(content, np.uint8, offset=len(header))
    if pixels.size != np.prod(shape):
        raise DamagedDataError(f"data: {path} has {pixels.size:,} bytes of data, not {np.prod(shape):,}; {CURE}")
    return pixels.reshape(shape)
