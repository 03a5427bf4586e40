"""A folder of photographs decoded once, to one size, into one file that is mapped into memory.

For sets that are seen often and not cut at random: the next run starts at once, and ``Resident`` holds the rows on a
GPU, or leaves them on the disk of a machine that has none. The file's name follows from the pictures' names, sizes and
times of change, so a changed folder is decoded anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from hardgrad_lab.data.errors import DataError
from hardgrad_lab.data.folder import TRIES, Listing, Middle, read
from hardgrad_lab.data.images import Images
from hardgrad_lab.runs.atomic import write_atomically

AT_ONCE = 256  # pictures in memory while the file is written


def decoded(listing: Listing, *, side: int, cache: Path, crop: Middle | None = None, workers: int = 0) -> Images:
    """Return all pictures of a listing at one size, decoding them the first time.

    Args:
        listing: the files.
        side: pixels.
        cache: folder of the decoded file, of rows * 3 * side * side bytes: 10 GB for 60,000 pictures at 236.
        crop: which part is kept; None is the largest square in the middle.
        workers: threads; 0 takes one for each core.

    Returns:
        x (n, 3, side, side), mapped from the file: its pages are read when they are used, and what is written to it
        stays in memory. y (n,).

    Raises:
        DamagedDataError: if a picture cannot be decoded.
        DataError: if the disk has not the room.
    """
    crop = crop or Middle()
    path = cache / f"{listing.folder.parent.name}-{listing.folder.name}-{side}-{_fingerprint(listing, side, crop)}.npy"
    shape = (len(listing), 3, side, side)
    if not path.is_file():
        _require_room(path.parent, int(np.prod(shape)))
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads:
            write_atomically(path, lambda file: _write(file, listing, side, crop, threads))
    mapped = np.load(path, mmap_mode="c")
    what = f"{listing.what}, the middle ({crop.share:g} of the shorter side) at {side} x {side}"
    return Images(x=torch.from_numpy(mapped), y=listing.y, classes=listing.classes, what=what)


def _write(file: BinaryIO, listing: Listing, side: int, crop: Middle, threads: ThreadPoolExecutor) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(listing), 3, side, side)}
    np.lib.format.write_array_header_1_0(file, header)
    no_chance = torch.empty(TRIES, 4)
    for first in range(0, len(listing), AT_ONCE):
        rows = range(first, min(first + AT_ONCE, len(listing)))
        for pixels in threads.map(lambda row: read(listing.path(row), side, crop, no_chance), rows):
            file.write(np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes())


def _fingerprint(listing: Listing, side: int, crop: Middle) -> str:
    seen = hashlib.sha256(f"{listing.folder.resolve()}|{side}|{asdict(crop)}".encode())
    for row, name in enumerate(listing.files):
        status = listing.path(row).stat()
        seen.update(f"|{name}|{status.st_size}|{status.st_mtime_ns}".encode())
    return seen.hexdigest()[:12]


def _require_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"cache: the decoded pictures need {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB left; give "
            "another folder or a smaller side, or read the pictures as a stream"
        )
