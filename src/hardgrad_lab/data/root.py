"""Where data sets lie: the folder, the files looked for in it, and what is said of one that is missing or damaged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardgrad_lab.data.checksum import check
from hardgrad_lab.data.download import fetch
from hardgrad_lab.data.errors import MissingDataError

VARIABLE = "HARDGRAD_DATA"


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a data set, wherever it may lie.

    Args:
        what: it holds, to stand after "no", such as ``MNIST training images``.
        digests: paths in the root, in the order in which they are looked for, each with the checksum that the file
            there must have: md5 (32 hexadecimal digits), sha256 (64), or empty where none is known.
        urls: where the official file is, tried in turn; empty where it cannot be fetched.
        saved: the path in the root that a fetched file gets; one of ``digests``.
        otherwise: another cure, to stand after "or".
    """

    what: str
    digests: Mapping[str, str]
    urls: Sequence[str] = ()
    saved: str = ""
    otherwise: str = ""


@dataclass(frozen=True, kw_only=True)
class Root:
    """The folder that holds data sets, and how far to trust and to complete it.

    Args:
        folder: that holds ``MNIST/raw``, ``cifar-10-batches-py`` and so on; None takes the environment variable
            ``HARDGRAD_DATA``.
        download: fetch what is missing, where that is possible; the files go where torchvision puts them.
        verify: read every file through for its checksum. Without it that is done once for each file, and again when
            its size or its time changes.

    Example:
        >>> Root(folder=Path()).has(File(what="notes", digests={"no-such-folder/notes.txt": ""}))
        False
    """

    folder: Path | None = None
    download: bool = False
    verify: bool = False

    def path(self) -> Path:
        """Return the folder.

        Raises:
            MissingDataError: if none is given, or it is not there and nothing may be downloaded into it.
        """
        given = self.folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
        if given is None:
            raise MissingDataError(
                f"data: no folder was given; pass --data FOLDER (in Python, Root(folder=...)) or set {VARIABLE} to the "
                "folder that holds the data sets; --download fetches what is missing, and docs/commands/data.md says "
                "what is looked for and which samples there are for a trial"
            )
        if not given.is_dir() and not self.download:
            raise MissingDataError(
                f"data: there is no folder {given}; point --data or {VARIABLE} at the folder that holds the data sets, "
                "or pass --download to make it"
            )
        return given

    def has(self, file: File) -> bool:
        """Return whether the file lies in one of its places; its content is not looked at."""
        return any((self.path() / place).is_file() for place in file.digests)

    def get(self, file: File) -> Path:
        """Return the path of a file that is there and whole, fetching it if that is allowed.

        Raises:
            MissingDataError: if it is nowhere, with all the places that were looked at.
            DamagedDataError: if its checksum is not what it must be.
        """
        folder = self.path()
        for place, digest in file.digests.items():
            if (folder / place).is_file():
                check(folder / place, digest, always=self.verify)
                return folder / place
        if not (self.download and file.urls):
            raise MissingDataError(self._missing(file))
        fetch(file.urls, folder / file.saved, file.digests[file.saved])
        return folder / file.saved

    def _missing(self, file: File) -> str:
        looked = "".join(f"\n  {self.path() / place}" for place in file.digests)
        cure = f"put it at one of these places, or point --data or {VARIABLE} at the folder that has one of them"
        if file.urls:
            cure += f", or pass --download (in Python, Root(download=True)) to fetch {file.urls[0]}"
        if file.otherwise:
            cure += f", or {file.otherwise}"
        return f"data: no {file.what}; looked for{looked}\n{cure}"
