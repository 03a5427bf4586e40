"""The names of files on their way: beside the file they are to become, with the process that writes them."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import shutil
from contextlib import suppress
from pathlib import Path

LONGEST = 150  # letters of a name that its stray keeps: systems allow 255 bytes, and the rest must fit
ALOFT: set[Path] = set()  # what this process is writing now, and the locks it holds: gone with it
_OWNER = re.compile(r"^(?P<host>[0-9a-f]{8})\.(?P<process>\d+)\.")


def prefix(path: Path) -> str:
    """Return how the name of a file begins that this process writes aside, to become ``path``."""
    return f"{_stem(path)}{host()}.{os.getpid()}."


def strays(path: Path, *, alone: bool = False) -> list[Path]:
    """Return what was left beside ``path`` by writers that are gone, files and folders alike.

    Args:
        path: what they were to become.
        alone: nobody else writes it, on no machine.
    """
    stem = _stem(path)
    found = set(path.parent.glob(f"{glob.escape(stem)}*")) - ALOFT
    return sorted(stray for stray in found if alone or not _is_written(stray.name[len(stem) :]))


def clear() -> None:
    """Delete what this process is writing, and its locks, since it is about to end without unwinding."""
    for path in list(ALOFT):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def beside(path: Path, ending: str) -> Path:
    """Return the hidden name beside ``path`` with an ending of its own, such as ``lock``."""
    return path.with_name(f".{_short(path.name)}.{ending}")


def host() -> str:
    """Return eight hexadecimal digits for this machine's name, which may hold what no file name does."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def is_alive(process: int) -> bool:
    """Return whether a process of this machine is there, whoever owns it."""
    if os.name == "nt":
        return _is_alive_on_windows(process)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(process: int) -> bool:
    # os.kill(process, 0) is a Ctrl-C there.
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return bool(kernel.GetLastError() == 5)  # there, but not ours to ask
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # STILL_ACTIVE


def _stem(path: Path) -> str:
    return f".{_short(path.name)}.tmp-"


def _short(name: str) -> str:
    """Return a name that still fits with an ending; two long ones that begin alike stay apart."""
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[:LONGEST].decode(errors='ignore')}-{digest}"


def _is_written(rest: str) -> bool:
    """Return whether a stray is of a process that goes on, or of another machine, where nobody here can see it."""
    owner = _OWNER.match(rest)
    if owner is None:
        return False  # of an earlier version, whose strays named nobody
    return owner["host"] != host() or (int(owner["process"]) != os.getpid() and is_alive(int(owner["process"])))
