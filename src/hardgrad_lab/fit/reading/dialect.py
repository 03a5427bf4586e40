"""How a file of text is laid out: its encoding, what parts its columns, its header. Said by the user, or found."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardgrad_lab.fit.reading.fault import FileFault, NoHeader, counted
from hardgrad_lab.fit.reading.opened import LATIN, check_encoding, decode_head, find_encoding, read_head

DELIMITERS = (",", ";", "\t", "|")
BLANKS = r"\s+"  # columns lined up with blanks between
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", BLANKS: "blanks"}
WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", r"\t": "\t", "bar": "|", "space": BLANKS, " ": BLANKS}
SAMPLED = 50  # lines by which a delimiter is found
_NUMBER = re.compile(r"[+-]?[\d.,' \u00a0]*\d[\d.,' \u00a0]*([eE][+-]?\d+)?|nan|inf", re.IGNORECASE)
_EXCEL = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)  # the first line by which Excel knows the delimiter


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the user says of files of text; whatever is None is found.

    Args:
        delimiter: between columns.
        decimal: the decimal point, "." or ",".
        thousands: between groups of three digits: ".", ",", " " or "'".
        encoding: of the text, by Python's name.
        missing: words that stand for a missing value, besides those that pandas knows.
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sign = WORDS.get(self.delimiter or ",", self.delimiter or ",")
        if len(sign) != 1 and sign != BLANKS:
            raise ValueError(f"--delimiter must be one sign, tab or space, got {self.delimiter!r}")
        for name, value, signs in (("decimal", self.decimal, ".,"), ("thousands", self.thousands, ".,' ")):
            if value is not None and (len(value) != 1 or value not in signs):
                raise ValueError(f"--{name} must be one of {' '.join(signs)!r}, got {value!r}")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"--decimal and --thousands must differ, got {self.decimal!r} for both")
        if self.encoding is not None:
            check_encoding(self.encoding)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one file is laid out.

    Args:
        delimiter: one sign, or ``BLANKS``.
        encoding: by Python's name.
        names: of its columns as they stand there.
        skipped: lines before the header, of Excel's ``sep=;``.
        headed: whether the names are the file's first line.
        found: what a user may want to know or to correct, in words.
    """

    delimiter: str
    encoding: str
    names: tuple[str, ...]
    skipped: int
    headed: bool
    found: tuple[str, ...]

    @property
    def begins(self) -> int:
        """Return the line of the first row, as an editor counts."""
        return self.skipped + self.headed + 1


def find_layout(path: Path, dialect: Dialect, names: Sequence[str] | None) -> Layout:
    """Return how a file of text is laid out.

    Args:
        path: of the file.
        dialect: what the user says of it.
        names: of its columns where it has no header; None reads them from its first line.

    Raises:
        FileFault: if it is no text, its first line is empty, or it has no header and no names.
    """
    head = read_head(path)
    encoding = check_encoding(dialect.encoding) if dialect.encoding else find_encoding(path, head)
    text = decode_head(path, head, encoding).removeprefix("\ufeff")
    first = text.splitlines()[0] if text.strip() else ""
    if not first.strip():
        raise FileFault(f"{path} cannot be read as CSV: its first line, which should name the columns, is empty")
    skipped, sign = 0, WORDS.get(dialect.delimiter or "", dialect.delimiter)
    if marked := _EXCEL.fullmatch(first):
        text, skipped, sign = text.split("\n", 1)[-1], 1, sign or marked[1]
    sample = _sample(text, len(head))
    delimiter = sign or _delimiter(sample)
    rows = _rows(path, sample, delimiter)
    fields = rows[0] if rows else []
    _check_names(path, fields, rows[1:], names, "\n".join(sample).split("\n", 1)[0], delimiter)
    return Layout(
        delimiter=delimiter,
        encoding=encoding,
        names=tuple(fields) if names is None else tuple(names),
        skipped=skipped,
        headed=names is None,
        found=tuple(_found(encoding, delimiter, dialect, len(fields))),
    )


def looks_like_number(field: str) -> bool:
    """Return whether a field is meant as a number, whatever its decimal point is."""
    return _NUMBER.fullmatch(field.strip()) is not None


def _sample(text: str, read: int) -> list[str]:
    """Return the first lines that are whole."""
    lines = text.splitlines()
    whole = lines[:-1] if read >= 1 << 18 and len(lines) > 1 else lines
    return whole[:SAMPLED]


def _rows(path: Path, lines: Sequence[str], delimiter: str) -> list[list[str]]:
    if delimiter == BLANKS:
        return [line.split() for line in lines]
    before = csv.field_size_limit(1 << 26)
    try:
        return list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise FileFault(f"{path} cannot be read as CSV: {error}; is a quote opened and not closed?") from None
    finally:
        csv.field_size_limit(before)


def _delimiter(lines: Sequence[str]) -> str:
    """Return what parts the columns: what is in the header, and in each line as often."""
    filled = [line for line in lines if line.strip()]
    rows = {sign: _rows(Path(), filled, sign) for sign in DELIMITERS}
    counts = {sign: [len(row) for row in rows[sign]] for sign in DELIMITERS}
    there = [sign for sign in DELIMITERS if counts[sign] and counts[sign][0] > 1]
    if not there:
        return _without_delimiter(filled)

    def alike(sign: str) -> tuple[float, float, int]:
        widths = counts[sign]
        fields = [field for row in rows[sign] for field in row]
        fitting = sum(map(looks_like_number, fields)) / len(fields)  # 0,5;2 is two numbers, not 0 and 5;2
        return sum(width == widths[0] for width in widths) / len(widths), fitting, widths[0]

    return max(there, key=alike)


def _without_delimiter(lines: Sequence[str]) -> str:
    """Return blanks where every line has as many words as the header and all below are numbers, else an unused sign."""
    words = [line.split() for line in lines]
    even = len(words) > 1 and len(words[0]) > 1 and len({len(line) for line in words}) == 1
    if even and all(any(looks_like_number(word) for word in line) for line in words[1:]):
        return BLANKS
    return next((sign for sign in DELIMITERS if not any(sign in line for line in lines)), ",")


def _check_names(
    path: Path, fields: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str] | None, first: str, sign: str
) -> None:
    if names is None and fields and all(looks_like_number(field) for field in fields):
        shown = first if len(first) <= 60 else first[:57] + "..."
        letters = ",".join("abcdefghijklmnopqrstuvwxyz"[: len(fields)])
        raise NoHeader(
            f"{path} has no header: its first line is {shown!r}; name its {counted(len(fields), 'column')} with "
            f"--columns {letters}"
        )
    if names is not None and len(names) != len(fields):
        raise FileFault(f"{path} has {counted(len(fields), 'column')}, and --columns names {len(names)}: {list(names)}")
    if rows and names is None and len(rows[0]) > len(fields):
        both = "; if commas are decimal points here, save it with semicolons between the columns" if sign == "," else ""
        raise FileFault(
            f"{path}: the header names {counted(len(fields), 'column')}, and the line below has {len(rows[0])}; name "
            f"them all, or say what parts the columns with --delimiter{both}"
        )


def _found(encoding: str, delimiter: str, dialect: Dialect, columns: int) -> list[str]:
    said = []
    if delimiter != "," and columns > 1 and dialect.delimiter is None:
        said.append(f"{NAMES.get(delimiter, repr(delimiter))} between columns")
    if dialect.encoding is None and encoding not in ("utf-8", "utf-8-sig"):
        said.append("Latin-1 (cp1252) as encoding" if encoding == LATIN else f"{encoding.upper()} as encoding")
    return said
