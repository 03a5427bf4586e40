"""Files that are whole or absent.

``kill -9`` in the middle of an ordinary write leaves half a file under the good name. Here the bytes go to a file
beside it, reach the disk, and only then take the name; a kill leaves the old file untouched and a stray
``.NAME.tmp-*``, which the next run of the same name sweeps away.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that ``path`` holds either its old content or all of the new.

    Args:
        path: the file to make or replace. Its folder is made when missing.
        write: called once with the open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)  # mkstemp makes it private; a record is meant to be shared
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all."""

    def write(file: BinaryIO) -> None:
        file.write(text.encode("utf-8"))

    write_atomically(path, write)


def sweep(path: Path) -> None:
    """Delete what killed writers of ``path`` left beside it.

    Args:
        path: the file that was to be written.
    """
    for stray in path.parent.glob(f".{path.name}.tmp-*"):
        stray.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
