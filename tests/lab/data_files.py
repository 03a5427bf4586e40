"""Tiny data sets in every form that the readers know, with pixels that are known too."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hardgrad_lab.data import cifar10, mnist, omniglot

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def digest(path: Path, algorithm: str = "md5") -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


def noise(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write_idx(path: Path, values: Bytes) -> None:
    """By the format's page: two zeros, 8 for unsigned bytes, how many sizes, the sizes, big end first, the data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(struct.pack(">i", size) for size in values.shape)
    content = b"\x00\x00\x08" + bytes([values.ndim]) + sizes + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def digits(root: Path, folder: str, *, packed: bool = True, rows: int = 12, side: int = 4) -> mnist.Kind:
    """Write a set of 12 training rows and 5 test rows; pixel values are those of ``noise``, labels count up."""
    digests = {}
    for part, count in {"train": rows, "t10k": 5}.items():
        images, labels = noise(count, side, side, seed=count), (np.arange(count) % 10).astype(np.uint8)
        for stem, values in {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels}.items():
            for name in (stem, f"{stem}.gz"):
                path = root / folder / name
                write_idx(path, values)
                digests[name] = digest(path)
                if packed != name.endswith(".gz"):
                    path.unlink()
    folders = ("MNIST/raw", "mnist/raw")
    return replace(
        mnist.MNIST,
        rows={"train": rows, "t10k": 5},
        held_out=2,
        side=side,
        folders=folders,
        digests=digests,
        mirrors=(),
    )


def batches(root: Path, form: str) -> cifar10.Kind:
    """Write three batches of six rows, two for training, as pickles, as mosaics of three a row, or as an archive."""
    names, pixels, labels = ("data_batch_1", "data_batch_2", "test_batch"), noise(18, 3, 32, 32), np.arange(18) % 10
    digests = dict.fromkeys([*names, *(f"{name}.webp" for name in names), "labels_and_names.npz", "small.tar.gz"], "")
    folder = root / (cifar10.MOSAICS if form == "mosaics" else cifar10.PICKLES)
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        rows = slice(6 * number, 6 * number + 6)
        if form == "mosaics":
            mosaic = np.zeros((64, 96, 3), np.uint8)
            for i, picture in enumerate(pixels[rows]):
                mosaic[32 * (i // 3) :, 32 * (i % 3) :][:32, :32] = picture.transpose(1, 2, 0)
            path = folder / f"{name}.webp"
            Image.fromarray(mosaic).save(path, lossless=True)
        else:
            path = folder / name
            path.write_bytes(pickled(pixels[rows].reshape(6, 3072), labels[rows].tolist()))
        digests[path.name] = digest(path, "sha256" if form == "mosaics" else "md5")
    if form == "mosaics":
        np.savez(folder / "labels_and_names.npz", labels=labels.astype(np.uint8))
    if form == "archive":
        with tarfile.open(root / "small.tar.gz", "w:gz") as archive:
            archive.add(folder, arcname=cifar10.PICKLES)
        digests["small.tar.gz"] = digest(root / "small.tar.gz")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return replace(
        cifar10.CIFAR10,
        rows=6,
        across=3,
        batches=names,
        held_out=4,
        digests=digests,
        archive="small.tar.gz",
        mirrors=(f"{(root / 'elsewhere').as_uri()}/",),
    )


def pickled(data: Bytes, labels: list[int]) -> bytes:
    """A batch as Python 2 wrote it: short byte strings as keys, an array by numpy's first protocol."""
    shape = struct.pack("<BHBHB", ord("M"), data.shape[0], ord("M"), data.shape[1], 0x86)  # two numbers, made a pair
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01" + shape + b"cnumpy\ndtype\n"
        b"(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", data.nbytes)
        + data.tobytes()
        + b"tb"
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def trap(path: Path) -> bytes:
    """A pickle that makes a file when an ordinary unpickler reads it."""
    command = f"touch {path}".encode()
    return b"\x80\x02}(U\x04datacos\nsystem\n(U" + bytes([len(command)]) + command + b"tRU\x06labels](eu."


def drawings(root: Path, *, packed: bool = False) -> omniglot.Kind:
    """Write two background characters and one of Glagolitic, 20 drawers each; drawer d of character c inks d pixels."""
    folder = root / omniglot.FOLDER
    digests = dict(omniglot.OMNIGLOT.digests)
    for part, alphabet, character in (
        ("images_background", "Braille", 1),
        ("images_background", "Glagolitic", 1),
        ("images_evaluation", "Angelic", 2),
    ):
        for drawer in range(1, 21):
            picture = np.ones((105, 105), bool)
            picture.flat[: 100 * drawer + character] = False
            path = folder / part / alphabet / f"character{character:02}" / f"0001_{drawer:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    if packed:
        for part in omniglot.PARTS:
            with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
                for path in sorted((folder / part).rglob("*.png")):
                    archive.write(path, path.relative_to(folder))
                    path.unlink()
            for path in sorted((folder / part).rglob("*"), reverse=True):
                path.rmdir()
            (folder / part).rmdir()
            digests[f"{part}.zip"] = digest(folder / f"{part}.zip")
    return replace(
        omniglot.OMNIGLOT,
        rows={"train": 45, "test": 14},
        held_out=5,
        characters=(2, 1),
        digests=digests,
        mirrors={},
    )


def photographs(folder: Path, sizes: dict[str, list[tuple[int, int]]]) -> None:
    """Write PNGs of one colour each, a folder a class: red says which class, green which picture."""
    for number, (name, members) in enumerate(sizes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, size in enumerate(members):
            Image.new("RGB", size, (10 * number, 10 * i, 7)).save(folder / name / f"{i:03}.png")
