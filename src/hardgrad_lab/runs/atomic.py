"""Files that are whole or absent.

``kill -9`` in the middle of an ordinary write leaves half a file under the good name. Here the bytes go to a file
beside it, reach the disk, and only then take the name; a kill leaves the old file untouched and a stray
``.NAME.tmp-*``, which the next run of the same name sweeps away. The stray's name says which process it is of, so that
nobody sweeps what another one is writing.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from hardgrad_lab.runs.aside import ALOFT, prefix, strays

BUSY = (5, 32)  # Windows' numbers for a file that somebody has open
PATIENCE_S = 2.0  # a reader or a virus scanner is done with a file within that


class _File(io.FileIO):
    """A file that keeps the error of a write: torch and others report one of their own instead."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that ``path`` holds either its old content or all of the new.

    Args:
        path: the file to make or replace. Its folder is made when missing.
        write: called once with the open binary file.

    Raises:
        OSError: with ``path`` and the cause, if there is no room, no right to write, or no such folder.
    """
    with written_aside(path, write) as aside, naming(path):
        os.chmod(aside, 0o644)  # mkstemp makes it private; a record is meant to be shared
        replace(aside, path)
        _sync_folder(path.parent)


@contextmanager
def written_aside(path: Path, write: Callable[[BinaryIO], None]) -> Iterator[Path]:
    """Write a file beside ``path``, where ``sweep`` finds it after a kill; it is gone at the end unless it was renamed.

    Args:
        path: what it could become. Its folder is made when missing.
        write: called once with the open binary file.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix(path), dir=path.parent)
    aside = Path(name)
    ALOFT.add(aside)
    try:
        with naming(path):
            _fill(handle, write)
        yield aside
    finally:
        aside.unlink(missing_ok=True)
        ALOFT.discard(aside)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all."""

    def write(file: BinaryIO) -> None:
        file.write(text.encode("utf-8"))

    write_atomically(path, write)


def sweep(path: Path, *, alone: bool = False) -> None:
    """Delete what killed writers of ``path`` left beside it; what a living process writes stays.

    Args:
        path: the file that was to be written.
        alone: nobody else writes it, since the caller holds its lock: strays of other machines go, too.
    """
    for stray in strays(path, alone=alone):
        with suppress(OSError):
            stray.unlink()


def replace(aside: Path, path: Path) -> None:
    """Let a file take the name of another, or of none.

    Windows refuses while somebody has the other one open; it is asked again for a while.
    """
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            os.replace(aside, path)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in BUSY or time.monotonic() > ends:
                raise
            time.sleep(0.02)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make the system's own errors in here name ``path``, not the file aside or none; a network's stay as they are."""
    try:
        yield
    except OSError as error:
        if type(error).__module__ != "builtins" or isinstance(error, ConnectionError | TimeoutError):
            raise
        if error.errno is None:
            raise OSError(f"{path}: {error}") from None
        raise OSError(error.errno, error.strerror, str(path)) from None


def _fill(handle: int, write: Callable[[BinaryIO], None]) -> None:
    raw = _File(handle, "wb")
    try:
        with io.BufferedWriter(raw, buffer_size=1 << 20) as file:
            write(cast(BinaryIO, file))
            file.flush()
            os.fsync(file.fileno())
    except Exception:
        if raw.fault is not None:
            raise raw.fault from None
        raise


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network folders have no such thing
            os.fsync(handle)
    finally:
        os.close(handle)
