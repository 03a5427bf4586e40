"""Binary pictures for density models, made from grey ones in one of three ways. Say which: they differ by nats.

- ``dynamic``: every time a row is seen, each pixel is drawn anew, 1 with probability grey / 255. The grey rows are
  those of `mnist` or `omniglot`, the drawing is done by ``draw`` on the device. IWAE's way, and that of REBAR and RELAX
  on Omniglot.
- ``static``: drawn once, by Salakhutdinov and Murray 2008, and the same for everybody: 50,000 rows ``fit``, 10,000
  ``valid``, 10,000 ``test``; ``train`` is the first two together. MNIST alone. Its rows stand in an order of their own.
- ``threshold``: 1 where the grey level is over 127, without any chance.

Source: Salakhutdinov, Murray 2008, On the quantitative analysis of deep belief networks; Burda et al. 2016,
arXiv:1509.00519.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardgrad_lab.data import mnist, omniglot, samples
from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.images import SPLITS, Images, SplitError, require_rows
from hardgrad_lab.data.prepare import Prepare
from hardgrad_lab.data.root import File, Root

WAYS = ("dynamic", "static", "threshold")
SETS = ("mnist", "fashion-mnist", "omniglot")
SIDE = 28
CURE = "move it away and put a good copy there"
PACKED_DIGEST = "6816909d521169182bd875c4cd962152224b8b659459bdc4bc93421d7c268d70"
MIRROR = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
ROWS = {"train": 50000, "valid": 10000, "test": 10000}  # by the names that the files have


@dataclass(frozen=True)
class Static:
    """Where the static rows are, how many they should be, and their checksum; a field each for small sets of tests."""

    rows: tuple[tuple[str, int], ...] = tuple(ROWS.items())
    digest: str = PACKED_DIGEST
    mirror: str = MIRROR

    def packed(self) -> File:
        """Return the file that holds all three parts."""
        places = ("mnist/binarized/binarized_mnist.npz", "BinarizedMNIST/binarized_mnist.npz", "binarized_mnist.npz")
        return File(what="static binarization of MNIST", digests=dict.fromkeys(places, self.digest))

    def text(self, part: str) -> File:
        """Return Larochelle's text file of one part, for which no checksum is published."""
        name = f"binarized_mnist_{part}.amat"
        places = (f"BinarizedMNIST/raw/{name}", f"mnist/binarized/{name}")
        what = f"static binarization of MNIST, neither as binarized_mnist.npz nor as {name}"
        return File(what=what, digests=dict.fromkeys(places, ""), urls=[self.mirror + name], saved=places[0])


def load(root: Root, name: str, split: str, way: str) -> tuple[Images, Prepare]:
    """Return one split, and what turns its rows to zeros and ones.

    Args:
        root: where the files are.
        name: ``mnist``, ``fashion-mnist`` or ``omniglot``.
        split: ``train``, ``fit``, ``valid`` or ``test``.
        way: ``dynamic``, ``static`` or ``threshold``; see the top of this module.

    Returns:
        The rows, grey or binary, and the function to give to a stream as ``prepare``: from (B, 1, 28, 28) bytes to as
        many zeros and ones, in single precision.

    Raises:
        DataError: if a file is missing or damaged.
        SplitError: if there is no such split.
        ValueError: if there is no such set or way, or the set was never binarized statically.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}")
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    if way == "static":
        if name != "mnist":
            raise ValueError(f"way='static' is for MNIST alone, got name={name!r}; take 'dynamic' or 'threshold'")
        return static(root, split), bits
    if name == "omniglot":
        images = omniglot.load(root, split)
    else:
        images = mnist.load(root, split, mnist.MNIST if name == "mnist" else mnist.FASHION)
    return (images, draw) if way == "dynamic" else (images, threshold)


def static(root: Root, split: str, source: Static | None = None) -> Images:
    """Return one split of statically binarized MNIST.

    Args:
        root: where the files are: ``binarized_mnist.npz``, or Larochelle's three text files, or `samples` of them.
        split: ``train``, ``fit``, ``valid`` or ``test``.
        source: where the rows come from; None is the set of the papers.

    Returns:
        x (n, 1, 28, 28), 0 or 1. y is the digit of the most likely source where the file says it, and -1 where not.

    Raises:
        MissingDataError: if a file is missing.
        DamagedDataError: if one is not what it should be.
        SplitError: if there is no such split.
    """
    if split not in SPLITS:
        raise SplitError(split)
    source = source or Static()
    if samples.stand_in(root, [source.packed(), *(source.text(part) for part in ROWS)]):
        return samples.load(root, "statically binarized MNIST", split)
    parts = {"train": ("train", "valid"), "fit": ("train",), "valid": ("valid",), "test": ("test",)}[split]
    rows = [_part(root, source, part) for part in parts]
    x, y = (torch.from_numpy(np.concatenate(columns)) for columns in zip(*rows, strict=True))
    words = " and ".join({"train": "training", "valid": "validation", "test": "test"}[part] for part in parts)
    what = f"MNIST, statically binarized (Salakhutdinov and Murray), {len(x):,} {words} rows"
    return Images(x=x.view(-1, 1, SIDE, SIDE), y=y, classes=mnist.MNIST.classes, what=what)


def _part(root: Root, source: Static, part: str) -> tuple[Any, Any]:
    if root.has(source.packed()):
        path = root.get(source.packed())
        content = np.load(path)
        x, label = content[part].reshape(-1, SIDE * SIDE), f"{part}_label_matched"
        y = content[label].astype(np.int64) if label in content else np.full(len(x), -1)
    else:
        path = root.get(source.text(part))
        x = read_amat(path)
        y = np.full(len(x), -1)
    require_rows(f"{path}, {part},", len(x), dict(source.rows)[part], CURE)
    if x.max() > 1:
        raise DamagedDataError(f"data: {path} holds {x.max()} where only 0 and 1 should be; {CURE}")
    return x, y


def read_amat(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the rows of a text file of zeros and ones, one picture a line, (n, 784).

    Raises:
        DamagedDataError: if a line holds something else, or another number of pixels.
    """
    characters = np.frombuffer(path.read_bytes(), np.uint8)
    digits = characters[characters > ord(" ")] - ord("0")  # np.loadtxt takes a minute for what this does in a second
    lines = np.count_nonzero(characters == ord("\n")) + (characters[-1:] != ord("\n")).sum()
    if digits.size != lines * SIDE * SIDE or digits.max(initial=0) > 1:
        raise DamagedDataError(f"data: {path} does not hold {SIDE * SIDE} zeros and ones a line; {CURE}")
    return digits.reshape(-1, SIDE * SIDE)


def draw(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Return zeros and ones, each 1 with probability grey / 255.

    P(1) = grey * 257 / 65,536, which is 1.5e-5 of itself below grey / 255, and exactly 0 and 1 at 0 and 255.

    Args:
        grey: bytes, any shape.
        generator: on the same device.

    Returns:
        Single precision, the same shape.

    Example:
        >>> draw(torch.tensor([0, 255], dtype=torch.uint8), torch.Generator())
        tensor([0., 1.])
    """
    # Sixteen random bits a pixel, four pixels a draw. With torch.rand, the binarization of a batch of 100 digits took a
    # tenth of the time of a whole step of a dense autoencoder on a CPU; this takes half of that. The bits are signed,
    # so the bound is 257 * grey shifted down by 2^15; the highest draw counts as the second highest: 255 is sure.
    words = torch.empty((grey.numel() + 3) // 4, dtype=torch.int64, device=grey.device)
    words.random_(-(2**63), None, generator=generator)
    drawn = words.view(torch.int16)[: grey.numel()].view(grey.shape).clamp_(max=2**15 - 2)
    bound = grey.to(torch.int16).mul_(257).sub_(2**15)
    # Into single precision at once: by way of bool takes five times as long on a CPU.
    return torch.lt(drawn, bound, out=torch.empty(grey.shape, device=grey.device))


def threshold(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Return 1 where the grey level is over 127, in single precision.

    Example:
        >>> threshold(torch.tensor([127, 128], dtype=torch.uint8), torch.Generator())
        tensor([0., 1.])
    """
    del generator
    return (grey > 127).float()


def bits(binary: Tensor, generator: torch.Generator) -> Tensor:
    """Return zeros and ones as they are, in single precision.

    Example:
        >>> bits(torch.tensor([0, 1], dtype=torch.uint8), torch.Generator())
        tensor([0., 1.])
    """
    del generator
    return binary.float()
