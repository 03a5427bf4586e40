"""Fetching official files where there is a network: checked, and whole or absent."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from hardgrad_lab.data.checksum import algorithm_of
from hardgrad_lab.data.errors import DamagedDataError, MissingDataError
from hardgrad_lab.runs.atomic import write_atomically

TIMEOUT_S = 30.0
CHUNK = 1 << 20  # bytes
AGENT = {"User-Agent": "hardgrad"}  # some hosts turn away python's own


def fetch(urls: Sequence[str], path: Path, digest: str = "") -> None:
    """Bring a file from the first address that gives the right one.

    Args:
        urls: tried in turn.
        path: what it is written to, whole or not at all.
        digest: its md5 or sha256 in hexadecimal digits; empty where none is known, and then its length alone is
            compared with what the server said.

    Raises:
        MissingDataError: if no address gave it, with the reason for each, and whether there is a network at all.
    """
    failures: list[tuple[str, Exception]] = []
    for url in urls:
        print(f"fetching {url} to {path}", file=sys.stderr)
        try:
            write_atomically(path, partial(_copy, url, digest))
            return
        except (OSError, http.client.HTTPException, DamagedDataError) as error:
            failures.append((url, error))
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the answer's body open
    reasons = "".join(f"\n  {url}: {error}" for url, error in failures)
    network = ""
    if all(_unreachable(error) for _, error in failures):
        network = "; this machine seems to have no network, or none that reaches there"
    raise MissingDataError(
        f"data: {path} is missing and could not be fetched{network}. Tried{reasons}\n"
        f"Bring the file here from another machine, to {path}"
    )


def _copy(url: str, digest: str, file: BinaryIO) -> None:
    seen, length = hashlib.new(algorithm_of(digest) if digest else "md5"), 0
    with urllib.request.urlopen(urllib.request.Request(url, headers=AGENT), timeout=TIMEOUT_S) as response:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            seen.update(chunk)
            length += len(chunk)
        announced = response.headers.get("Content-Length")
    if announced is not None and int(announced) != length:
        raise DamagedDataError(f"it ended after {length} of {announced} bytes")
    if digest and seen.hexdigest() != digest:
        raise DamagedDataError(f"what came has the {seen.name} {seen.hexdigest()}, the right file has {digest}")


def _unreachable(error: Exception) -> bool:
    """Return whether nobody answered; an answer that is wrong, or a full disk, is something else."""
    return isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the folder of that name from a tar or zip archive, whole or not at all.

    Several processes may do it at once: the first to finish wins.

    Args:
        archive: the file; its members lie in one folder, called as ``folder`` is.
        folder: what is made. If it is there it is left as it is.

    Raises:
        DamagedDataError: if the archive cannot be read or holds no such folder.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
    try:
        _extract(archive, aside)
        _put(aside / folder.name, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, FileNotFoundError) as error:
        raise DamagedDataError(
            f"data: {archive} cannot be unpacked ({error}); move it away and let it be fetched again with --download"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(ready: Path, folder: Path) -> None:
    try:
        ready.rename(folder)
    except OSError:
        if not folder.is_dir():  # nobody else has put it there meanwhile
            raise


def _extract(archive: Path, folder: Path) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)  # keeps within the folder whatever the names say
    else:
        with tarfile.open(archive) as tarred:
            tarred.extractall(folder, filter="data")
