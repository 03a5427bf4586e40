"""Checksums of files, each taken once.

A file that passed leaves a mark in the user's cache folder, named after its path, size, time of change and
checksum: the next run does not read it through again, a changed file is. Data folders may be read-only, so the mark
does not lie in them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.runs.atomic import write_text

ALGORITHMS = {32: "md5", 64: "sha256"}  # by hexadecimal digits


def digest_of(path: Path, algorithm: str = "md5") -> str:
    """Return the checksum of a file in hexadecimal digits.

    Args:
        path: the file.
        algorithm: ``md5`` or ``sha256``.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def algorithm_of(digest: str) -> str:
    """Return what kind of checksum this is.

    Example:
        >>> algorithm_of("d41d8cd98f00b204e9800998ecf8427e")
        'md5'
    """
    return ALGORITHMS[len(digest)]


def check(path: Path, digest: str, *, always: bool = False) -> None:
    """Make sure that a file is what it should be.

    Args:
        path: the file.
        digest: its checksum; empty where none is known, which passes.
        always: read the file even if it passed before.

    Raises:
        DamagedDataError: if its checksum is another.
    """
    if not digest:
        return
    mark = _mark(path, digest)
    if mark is not None and mark.is_file() and not always:
        return
    got = digest_of(path, algorithm_of(digest))
    if got != digest:
        raise DamagedDataError(
            f"data: {path} is damaged, or another file of that name: its {algorithm_of(digest)} is {got}, the right "
            f"one's is {digest}. Move it away and put a good copy there, or let it be fetched with --download"
        )
    if mark is not None:
        _remember(mark, path)


def _mark(path: Path, digest: str) -> Path | None:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None
    status = path.stat()
    which = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{digest}"
    return cache / "hardgrad" / "checked" / hashlib.sha256(which.encode()).hexdigest()


def _remember(mark: Path, path: Path) -> None:
    try:
        write_text(mark, f"{path}\n")
    except OSError:
        return  # no place to remember it in: it is read again next time
