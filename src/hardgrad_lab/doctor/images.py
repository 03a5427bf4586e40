"""Small pictures that the bank codes in bits: real digits where there is a data folder, drawn blobs otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hardgrad_lab.data import mnist
from hardgrad_lab.data.root import VARIABLE, Root

SIDE = 14  # pixels, after averaging 2 x 2
ROWS = 2000


@dataclass(frozen=True)
class Pictures:
    """Pictures as rows.

    Args:
        rows: shape (n, SIDE * SIDE), grey levels from 0 to 1; n is ROWS, or all that a sample of the data has.
        source: what they are, for the record.
    """

    rows: Tensor
    source: str


def pictures(folder: Path | None) -> Pictures:
    """Return real digits if a folder of data is given, and drawn blobs if none is.

    Args:
        folder: of the data sets; None takes the environment variable ``HARDGRAD_DATA``.

    Raises:
        DataError: if a folder is given that lacks the digits, or whose files are damaged.
    """
    if folder is None and not os.environ.get(VARIABLE):
        return Pictures(_blobs(torch.Generator().manual_seed(0)), "drawn blobs (no data folder was given)")
    digits = mnist.load(Root(folder=folder), "test")
    full = digits.x[:ROWS].float().div(255)
    source = f"the first {ROWS} test digits of MNIST" if len(full) == ROWS else digits.what
    return Pictures(torch.nn.functional.avg_pool2d(full, 2).flatten(1), source)


@dataclass(frozen=True)
class Codec:
    """A linear encoder of pictures to a few numbers, and a decoder of their signs.

    Args:
        codes: of all pictures, shape (n, units), unit variance.
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
