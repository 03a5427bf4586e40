"""Small pictures that the bank codes in bits: real digits where there is a data folder, drawn blobs otherwise."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VARIABLE = "HARDGRAD_DATA"
DIGITS = "mnist/raw/t10k-images-idx3-ubyte.gz"
HEADER = 16  # bytes before the first pixel of an idx3 file
SIDE = 14  # pixels, after averaging 2 x 2
ROWS = 2000


@dataclass(frozen=True)
class Pictures:
    """Pictures as rows.

    Args:
        rows: shape (ROWS, SIDE * SIDE), grey levels from 0 to 1.
        source: what they are, for the record.
    """

    rows: Tensor
    source: str


def pictures(folder: Path | None) -> Pictures:
    """Return real digits if a folder of data is given, and drawn blobs if none is.

    Args:
        folder: holds ``mnist/raw/``; None takes the environment variable ``HARDGRAD_DATA``.

    Raises:
        ValueError: if a folder is given that lacks the digits, or their file is cut short.
    """
    given = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if given is None:
        return Pictures(_blobs(torch.Generator().manual_seed(0)), "drawn blobs (no data folder was given)")
    path = given / DIGITS
    if not path.is_file():
        raise ValueError(f"data: there is no {path}; pass the folder that holds mnist/raw/, or none for drawn pictures")
    with gzip.open(path) as file:
        raw = np.frombuffer(file.read(HEADER + ROWS * 28 * 28), dtype=np.uint8)[HEADER:]
    if raw.size < ROWS * 28 * 28:
        raise ValueError(f"data: {path} holds fewer than {ROWS} pictures; it may be cut short")
    full = torch.from_numpy(raw.copy()).float().div(255).view(ROWS, 1, 28, 28)
    return Pictures(torch.nn.functional.avg_pool2d(full, 2).flatten(1), f"the first {ROWS} test digits of MNIST")


@dataclass(frozen=True)
class Codec:
    """A linear encoder of pictures to a few numbers, and a decoder of their signs.

    Args:
        codes: of all pictures, shape (ROWS, units), unit variance.
        decoder: shape (units + 1, pixels), its last row the bias; the least squares answer for signs of codes.
        rows: the pictures.
    """

    codes: Tensor
    decoder: Tensor
    rows: Tensor

    def decode(self, bits: Tensor) -> Tensor:
        """Return the pictures that codes of -1 and 1 stand for, (..., units) to (..., pixels)."""
        return bits @ self.decoder[:-1] + self.decoder[-1]


def codec(rows: Tensor, units: int) -> Codec:
    """Return an encoder by principal components, turned so that every bit says as much as the others.

    Args:
        rows: pictures, shape (n, pixels).
        units: how many numbers code one.
    """
    centred = rows.double() - rows.double().mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    codes = centred @ axes[:units].T
    codes = codes / codes.std(0)
    # Signs of raw components waste bits: the first is worth many of the last. A rotation shares out the variance.
    turn, _ = torch.linalg.qr(torch.randn(units, units, generator=torch.Generator().manual_seed(1)).double())
    codes = codes @ turn
    bits = torch.cat([codes.sign(), torch.ones(len(codes), 1, dtype=codes.dtype)], 1)
    decoder = torch.linalg.lstsq(bits, rows.double()).solution
    return Codec(codes.float(), decoder.float(), rows)


def _blobs(generator: torch.Generator) -> Tensor:
    """Three soft spots a picture, of any place, width and brightness."""
    place = torch.linspace(0, 1, SIDE)
    centre = torch.rand(ROWS, 3, 2, 1, generator=generator)
    width = 0.08 + 0.15 * torch.rand(ROWS, 3, 1, generator=generator)
    bright = 0.4 + 0.6 * torch.rand(ROWS, 3, 1, 1, generator=generator)
    down, across = (torch.exp(-(((place - centre[:, :, i]) / width) ** 2) / 2) for i in range(2))
    return (bright * down.unsqueeze(-1) * across.unsqueeze(-2)).sum(1).clamp(max=1).flatten(1)
