"""Room to write: asked for before a training begins, and what to do where there is none, in words."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hardgrad_lab.runs.atomic import written_aside

CURES = {
    errno.ENOSPC: "free some space, or write to another folder",
    errno.EDQUOT: "free some space, or write to another folder: this account may have no more here",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to another folder",
    errno.EROFS: "write to another folder",
    errno.EACCES: "choose a folder that you may write to, or change its rights",
    errno.EPERM: "choose a folder that you may write to, or change its rights",
    errno.ENOTDIR: "a file stands where a folder should be; choose another place",
    errno.EEXIST: "a file stands where a folder should be; choose another place",
    errno.EISDIR: "a folder stands there; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
BLOCK = 1 << 20  # bytes that a trial writes at a time
MOST = 256 << 20  # bytes that a trial writes; for more, what the system says is free must do


class RoomError(OSError):
    """Less room than a run needs; the message says where, how much there is and how much it takes."""


def explain(error: OSError) -> str:
    """Return an error of the system as a sentence: the file, the cause and the cure.

    Args:
        error: whose ``filename`` names the file, if it is known.
    """
    if error.errno is None:
        return str(error)
    about = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | Path) else ""
    cause = error.strerror or errno.errorcode.get(error.errno, str(error.errno))
    cure = CURES.get(error.errno)
    return f"{about}{cause}" + (f"; {cure}" if cure else "")


def ask_for_room(path: Path, size: int, what: str) -> None:
    """Make sure that a file of ``size`` bytes can be written beside ``path``, by doing so; nothing is left of it.

    Args:
        path: the file or folder to come. Its folder is made when missing.
        size: bytes.
        what: takes the room, to begin a sentence with, such as ``this fit``.

    Raises:
        RoomError: if the disk has less than that.
        OSError: if nothing, or not so much, can be written there; it names ``path``.
    """

    def write(file: BinaryIO) -> None:
        for _ in range(-(-min(size, MOST) // BLOCK)):
            file.write(bytes(BLOCK))

    _try(path, write)
    _compare(path.parent, size, what)


def try_to_write(path: Path, write: Callable[[BinaryIO], None], what: str) -> int:
    """Write a file beside ``path`` as if it were to become ``path``, delete it, and return its size in bytes.

    Args:
        path: the file to come.
        write: as for ``write_atomically``.
        what: takes the room, to begin a sentence with.

    Raises:
        RoomError: if it could be written once but not beside an older one, as replacing it takes.
        OSError: if it could not be written; it names ``path``.
    """
    size = _try(path, write)
    _compare(path.parent, 2 * size, what)
    return size


def refuge(path: Path) -> Path:
    """Return a new place for what cannot be written at ``path``: in the system's folder for temporary files."""
    return Path(tempfile.mkdtemp(prefix="hardgrad-")) / path.name


def _try(path: Path, write: Callable[[BinaryIO], None]) -> int:
    with suppress(FileNotFoundError):
        os.stat(path)  # a name too long, or below a file, is said of this name and not of the trial's
    with written_aside(path, write) as aside:
        return aside.stat().st_size


def _compare(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RoomError(
            f"{what} needs about {_in_words(needed)} in {folder}, which has {_in_words(free)} free; "
            f"{CURES[errno.ENOSPC]}"
        )


def _in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
