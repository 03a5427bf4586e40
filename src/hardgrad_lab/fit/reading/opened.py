"""The bytes of a file of text, whatever it is packed in, and the encoding that they are in."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from hardgrad_lab.fit.reading.fault import FileFault, line_of

HEAD = 1 << 18  # bytes by which encoding and delimiter are found, if the first line is no longer
LONGEST_LINE = 1 << 26  # bytes
MARKS = (  # at the beginning of a file; UTF-32 first, since its mark begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LATIN = "cp1252"  # Windows' Latin-1: every byte of ISO 8859-1 that is a letter means the same in it
TEXT = "\t\n\r\f"  # the control characters that text may hold


def _zstandard(path: Path) -> BinaryIO:
    import pyarrow as pa

    return cast(BinaryIO, pa.input_stream(str(path), compression="zstd"))


def _zipped(path: Path) -> BinaryIO:
    archive = zipfile.ZipFile(path)
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if len(members) != 1:
        raise FileFault(f"{path} must hold one file, got {len(members)}; unpack it and name the one to read")
    return cast(BinaryIO, archive.open(members[0]))


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstandard,
    ".zip": _zipped,
}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def unpacked_suffix(path: Path) -> str:
    """Return the suffix in small letters, of what is inside where a file is packed: ``.csv`` of ``a.csv.gz``."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in _OPENERS else last


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, unpacked.

    Raises:
        FileFault: if what it is packed in is damaged.
    """
    suffix = path.suffix.lower()
    try:
        file = _OPENERS[suffix](path) if suffix in _OPENERS else path.open("rb")
        with file:
            yield file
    except _DAMAGE as error:
        if suffix not in _OPENERS:
            raise
        raise FileFault(f"{path} cannot be unpacked as {suffix}: {line_of(error)}") from None


def read_head(path: Path) -> bytes:
    """Return the beginning of a file of text, at least its first line."""
    with opened(path) as file:
        head = file.read(HEAD)
        while b"\n" not in head and b"\r" not in head and len(head) < LONGEST_LINE:
            more = file.read(HEAD)
            if not more:
                break
            head += more
    return head


def count_lines(path: Path) -> int:
    """Return how many lines a file of text has."""
    count, last = 0, b"\n"
    with opened(path) as file:
        while block := file.read(1 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def check_encoding(name: str) -> str:
    """Return a user's encoding, or raise a ValueError if Python knows no text by that name."""
    try:
        known = codecs.lookup(name)
    except LookupError:
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise ValueError(f"--encoding must be one such as utf-8, utf-16, cp1252 or iso-8859-15, got {name!r}")
    return "utf-8-sig" if known.name == "utf-8" else name


def find_encoding(path: Path, head: bytes) -> str:
    """Return the encoding of a file: by its mark, by the zeros of UTF-16, UTF-8 where it can be, else Latin-1.

    Raises:
        FileFault: for bytes that are no text.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        places = head[start::2]
        if places and places.count(0) > 0.45 * len(places):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        found = "utf-8"
    except UnicodeDecodeError:
        found = LATIN
    if any(byte < 32 and chr(byte) not in TEXT for byte in set(head)):
        raise FileFault(f"{path} cannot be read as CSV: it is not text")
    return found


def decode_head(path: Path, head: bytes, encoding: str) -> str:
    """Return the beginning of a file as text; a letter cut in two at its end is left away."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except (UnicodeDecodeError, UnicodeError) as error:
        raise FileFault(f"{path} is not text in {encoding} ({line_of(error)}); say another --encoding") from None
