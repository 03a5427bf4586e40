"""One process at a time on a run: a lock that the system gives up when its holder dies, and that says who holds it."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from hardgrad_lab.runs.aside import ALOFT, beside, host, is_alive
from hardgrad_lab.runs.atomic import naming

FAR = 1 << 30  # the byte that Windows locks: what is locked cannot be read, and the holder stands at the beginning
MOST = 1000  # bytes of a holder
WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)  # a network folder that has no locks


class InUseError(ValueError):
    """Another process is at it; the message says which one and since when."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock.

    Args:
        process: its number.
        machine: its machine's name.
        host: the same as ``aside.host`` gives it.
        since: when it began, ISO 8601 in UTC.
    """

    process: int
    machine: str
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.machine} since {self.since}"


@contextmanager
def locked(path: Path, what: str, otherwise: str) -> Iterator[Holder | None]:
    """Hold the lock of ``path`` in here, which need not be there itself.

    Args:
        path: the file or folder that only one process may work at.
        what: what that is, to begin a sentence with, such as ``this run``.
        otherwise: what the user can do besides waiting, such as ``choose another --out``.

    Yields:
        The process that held the lock when it was killed, if there was one.

    Raises:
        InUseError: if another process holds it.
        OSError: if nothing can be written beside ``path``; the error names the folder.
    """
    name = beside(path, "lock")
    with naming(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    handle = _taken(name, what, otherwise)
    ALOFT.add(name)
    try:
        before = _read(handle)
        _write(handle)
        yield before
    finally:
        _give_up(handle, name)
        ALOFT.discard(name)


def _taken(name: Path, what: str, otherwise: str) -> int:
    """Return the open, locked file of this name."""
    while True:
        with naming(name.parent):
            handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _lock(handle) or _is_held(handle):
                raise InUseError(_in_use(_read(handle), name, what, otherwise))
            # Whoever held it may have removed the name between the two: then this is a lock of nothing.
            with suppress(FileNotFoundError):
                if os.name != "posix" or os.fstat(handle).st_ino == os.stat(name).st_ino:
                    return handle
            os.close(handle)
        except BaseException:
            _UNLOCKED.discard(handle)
            os.close(handle)
            raise


def _in_use(holder: Holder | None, name: Path, what: str, otherwise: str) -> str:
    who = holder or "another process"
    apart = holder is not None and holder.host != host()
    gone = f", or remove {name} if that process is gone" if apart else ""
    return f"{what} is being worked on by {who}; wait until it ends, or {otherwise}{gone}"


def _lock(handle: int) -> bool:
    """Lock an open file and return True, or False if another has it; folders without locks go by what it says."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in WITHOUT:
            _UNLOCKED.add(handle)
            return True
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


_UNLOCKED: set[int] = set()  # open files in folders that have no locks


def _is_held(handle: int) -> bool:
    """Return whether the holder goes on, where the system cannot tell and its number must."""
    if handle not in _UNLOCKED:
        return False
    holder = _read(handle)
    return holder is not None and (holder.host != host() or is_alive(holder.process))


def _read(handle: int) -> Holder | None:
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        holder = Holder(**json.loads(os.read(handle, MOST)))
    except (ValueError, TypeError, RecursionError):  # empty, or half written when its process was killed
        return None
    words = (holder.machine, holder.host, holder.since)
    whole = isinstance(holder.process, int) and all(isinstance(word, str) and word.isprintable() for word in words)
    return holder if whole else None


def _write(handle: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = Holder(process=os.getpid(), machine=platform.node(), host=host(), since=since)
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    with suppress(OSError):  # a full disk: the lock holds all the same, it only does not say by whom
        os.write(handle, json.dumps(asdict(holder)).encode())


def _give_up(handle: int, name: Path) -> None:
    _UNLOCKED.discard(handle)
    if os.name == "posix":
        with suppress(OSError):
            name.unlink()  # while it is held: whoever opened it meanwhile sees that it has no name
    os.close(handle)
    if os.name != "posix":
        with suppress(OSError):  # another process has it open, to find that it is free now
            name.unlink()
