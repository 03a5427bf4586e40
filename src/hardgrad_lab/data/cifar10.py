"""CIFAR-10: the official pickles, read without running what they say, or lossless WebP mosaics.

Splits:
- ``train``: the 50,000 official training rows, batches 1 to 5 in order;
- ``fit`` and ``valid``: the first 45,000 and the last 5,000 of them, as in He et al. 2016;
- ``test``: the 10,000 official test rows.

A pickle is a program. Those of CIFAR-10 call three names of numpy, and ``Restricted`` knows no others; whatever else a
file asks for is refused before it runs. A mosaic shows the pictures of a batch as one, 100 in a row.

Source: Krizhevsky 2009, Learning multiple layers of features from tiny images; He, Zhang, Ren, Sun 2016,
arXiv:1512.03385, section 4.2.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from hardgrad_lab.data import samples
from hardgrad_lab.data.download import unpack
from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.images import SPLITS, Images, SplitError, require_rows, split_tail, tensor
from hardgrad_lab.data.root import File, Root

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
PICKLES = "cifar-10-batches-py"
MOSAICS = "cifar10"
SIDE = 32
CURE = "move it away and put a good copy there, or let it be fetched with --download"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A data set in batches as CIFAR-10's.

    Args:
        name: of the set.
        rows: in each batch.
        across: pictures in a row of a mosaic.
        batches: names of the training batches, then of the test batch.
        held_out: of the training rows, how many are for validation.
        classes: names, by number.
        digests: checksums by file name: pickles, mosaics, the mosaics' labels, the archive.
        archive: name of the packed folder of pickles.
        mirrors: addresses that end in a slash; the archive's name follows.
    """

    name: str
    rows: int
    across: int
    batches: tuple[str, ...]
    held_out: int
    classes: tuple[str, ...]
    digests: Mapping[str, str]
    archive: str
    mirrors: tuple[str, ...]

    def file(self, name: str, *folders: str) -> File:
        """Return a file by its name and the folders it may be in."""
        places = [f"{folder}/{name}" for folder in folders]
        return File(what=f"{self.name} file {name}", digests=dict.fromkeys(places, self.digests[name]))

    def packed(self) -> File:
        """Return the archive, which can be fetched."""
        urls = [f"{mirror}{self.archive}" for mirror in self.mirrors]
        return File(
            what=f"{self.name}: neither {PICKLES} in that folder or its {MOSAICS}, nor mosaics, nor the archive",
            digests={self.archive: self.digests[self.archive]},
            urls=urls,
            saved=self.archive,
        )


CIFAR10 = Kind(
    name="CIFAR-10",
    rows=10000,
    across=100,
    batches=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"),
    held_out=5000,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    digests={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "data_batch_1.webp": "7862ba6f532eb26481636723b49a74914d0a8186dde88a2afa9047668b1214b8",
        "data_batch_2.webp": "223eb5388d46cd9050b630ada011bb521e9e66e56f8922c4e3c90068bfb4de74",
        "data_batch_3.webp": "72340f10fb016c6a6f645cbf5e19c99d4d83b500574b3838a6850d00fc20b354",
        "data_batch_4.webp": "b5646e97fe600f24a0e4662426280aa23704f9e04033e7beab0808a51212f814",
        "data_batch_5.webp": "20fd741c090103a8703cd393ed42c0b9bb55c84a099564b3a290171531a473f9",
        "test_batch.webp": "5fb7e1221ce9526ce00d6f53ad5e520f96044b42580400979c573f910e687a8e",
        "labels_and_names.npz": "96a51c38ba75ea3507c45b6ff3ac2e32b3995f1d39db1085e28c9a9f10cfbf6b",
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    },
    archive="cifar-10-python.tar.gz",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
)


def load(root: Root, split: str, kind: Kind = CIFAR10) -> Images:
    """Return one split.

    Args:
        root: where the files are. Looked for, in turn: the pickles in ``cifar-10-batches-py``, there or in ``cifar10``;
            the mosaics in ``cifar10``; the archive, which is unpacked; `samples`.
        split: ``train``, ``fit``, ``valid`` or ``test``; see the top of this module.
        kind: the set.

    Returns:
        x (n, 3, 32, 32); y (n,), 0 to 9.

    Raises:
        MissingDataError: if a file is missing.
        DamagedDataError: if one is not what it should be.
        SplitError: if there is no such split.
    """
    if split not in SPLITS:
        raise SplitError(split)
    if samples.stand_in(root, _files(kind)):
        return samples.load(root, kind.name, split)
    wanted = kind.batches[-1:] if split == "test" else kind.batches[:-1]
    read = _reader(root, kind)
    parts = [read(root, kind, name) for name in wanted]
    x = np.concatenate([pixels for pixels, _ in parts])
    y = np.concatenate([labels for _, labels in parts])
    if y.max() >= len(kind.classes):
        raise DamagedDataError(f"data: {kind.name} has a label {y.max()}, over {len(kind.classes) - 1}; {CURE}")
    official = f"{kind.name}, the {len(x):,} official {'test' if split == 'test' else 'training'} rows"
    images = Images(x=tensor(x), y=torch.from_numpy(y), classes=kind.classes, what=official)
    return images if split == "test" else split_tail(images, split, kind.held_out)


Reader = Callable[[Root, Kind, str], tuple[Bytes, Any]]


def _reader(root: Root, kind: Kind) -> Reader:
    """Return what reads the form that is there, be it incomplete."""
    if any(root.has(_pickled(kind, name)) for name in kind.batches):
        return _from_pickle
    if any(root.has(_mosaic(kind, name)) for name in kind.batches):
        return _from_mosaic
    unpack(root.get(kind.packed()), root.path() / PICKLES)
    return _from_pickle


def _files(kind: Kind) -> list[File]:
    """Return all files in any form."""
    return [form(kind, name) for name in kind.batches for form in (_pickled, _mosaic)] + [kind.packed()]


def _pickled(kind: Kind, name: str) -> File:
    file = kind.file(name, PICKLES, f"{MOSAICS}/{PICKLES}")
    return replace(file, otherwise=f"move {PICKLES} away and pass --download, to have the whole of it again")


def _mosaic(kind: Kind, name: str) -> File:
    return kind.file(f"{name}.webp", MOSAICS)


def _from_pickle(root: Root, kind: Kind, name: str) -> tuple[Bytes, Any]:
    path = root.get(_pickled(kind, name))
    with path.open("rb") as file:
        batch = read_pickle(file, path)
    pixels, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3 * SIDE * SIDE,):
        raise DamagedDataError(f"data: {path} holds no rows of {3 * SIDE * SIDE} bytes under 'data'; {CURE}")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise DamagedDataError(f"data: {path} holds no label for each of its {len(pixels):,} rows; {CURE}")
    require_rows(str(path), len(pixels), kind.rows, CURE)
    return pixels.reshape(-1, 3, SIDE, SIDE), np.array(labels, np.int64)


def _from_mosaic(root: Root, kind: Kind, name: str) -> tuple[Bytes, Any]:
    pixels = read_mosaic(root.get(_mosaic(kind, name)), kind.rows, kind.across)
    labels = np.load(root.get(kind.file("labels_and_names.npz", MOSAICS)))["labels"]
    require_rows("labels_and_names.npz", len(labels), kind.rows * len(kind.batches), CURE)
    first = kind.batches.index(name) * kind.rows
    return pixels, labels[first : first + kind.rows].astype(np.int64)


def read_mosaic(path: Path, rows: int, across: int) -> Bytes:
    """Return the pictures of a mosaic, (rows, 3, 32, 32): picture i stands in row i // across, column i % across.

    Raises:
        DamagedDataError: if the picture cannot be decoded or has another size.
    """
    from PIL import Image  # only mosaics need it

    try:
        with Image.open(path) as picture:
            mosaic = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise DamagedDataError(f"data: {path} cannot be decoded ({error}); {CURE}") from None
    down = rows // across
    if mosaic.shape != (down * SIDE, across * SIDE, 3):
        raise DamagedDataError(f"data: {path} has shape {mosaic.shape}, not {(down * SIDE, across * SIDE, 3)}; {CURE}")
    return mosaic.reshape(down, SIDE, across, SIDE, 3).transpose(0, 2, 4, 1, 3).reshape(rows, 3, SIDE, SIDE)


def read_pickle(file: BinaryIO, path: Path) -> dict[Any, Any]:
    """Return the dict that a batch's pickle describes, with bytes as its keys.

    Args:
        file: open for reading.
        path: its name, for messages.

    Raises:
        DamagedDataError: if it is cut short, is no pickle of a dict, or calls for anything but an array.
    """
    try:
        content = Restricted(file, encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to spell
        raise DamagedDataError(f"data: {path} is no batch of CIFAR-10 ({error}); {CURE}") from None
    if not isinstance(content, dict):
        raise DamagedDataError(f"data: {path} is no batch of CIFAR-10 (it holds a {type(content).__name__}); {CURE}")
    return content


class Restricted(pickle.Unpickler):
    """An unpickler that knows how arrays are made, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the three callables that a pickled array needs.

        Raises:
            pickle.UnpicklingError: for any other name, which a data file has no need of.
        """
        known = ALLOWED.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a batch has no need of")
        return known


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> Bytes:
    """Stand in for numpy's own ``_reconstruct``, whatever class it is asked for."""
    del kind, shape, code
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


def _dtype(code: bytes | str, *flags: int) -> np.dtype[Any]:
    del flags  # align and copy; numpy 2.4 warns when they are given as the numbers that the files hold
    text = code.decode() if isinstance(code, bytes) else code
    if text != "u1":
        raise pickle.UnpicklingError(f"it holds an array of {text!r}, where bytes should be")
    return np.dtype(np.uint8, copy=True)


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}
