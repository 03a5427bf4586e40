"""Reading tables: text, Parquet, Excel. Each fault is a FileFault: the file, the line or column, and the cure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from hardgrad_lab.fit.reading.columns import numbers
from hardgrad_lab.fit.reading.dialect import Dialect, find_layout
from hardgrad_lab.fit.reading.fault import FileFault, NoHeader
from hardgrad_lab.fit.reading.frame import Frame
from hardgrad_lab.fit.reading.opened import unpacked_suffix

__all__ = ["PARQUETS", "FileFault", "Frame", "has_header", "numbers", "read_frame"]

PARQUETS = (".parquet", ".pq")
SHEETS = (".xlsx", ".xlsm")
OTHERS = {".xls": "Excel's old files", ".ods": "OpenDocument's files", ".json": "JSON", ".feather": "Feather"}


def read_frame(
    path: Path, names: Sequence[str] | None, dialect: Dialect | None = None, only: Collection[str] | None = None
) -> Frame:
    """Read one file as a table.

    Args:
        path: the file; ``.parquet``, ``.pq`` and ``.xlsx`` say what they are, all else is text, maybe packed.
        names: of the columns of a file that has no header; None reads them from its first line.
        dialect: what the user says of a file of text.
        only: the columns to read; None reads all.

    Returns:
        The table, its columns as they are.

    Raises:
        FileFault: if there is no such file, or it cannot be read as a table.
    """
    # A kind of file brings its own reader along only when it is read.
    if not path.is_file():
        raise FileFault(f"{path} is not there" if not path.exists() else f"{path} is a folder, not a table")
    suffix, dialect = path.suffix.lower(), dialect or Dialect()
    if suffix in PARQUETS:
        from hardgrad_lab.fit.reading.typed_file import read_parquet

        return read_parquet(path, dialect, only)
    if suffix in SHEETS:
        from hardgrad_lab.fit.reading.typed_file import read_excel

        return read_excel(path, names, dialect, only)
    if suffix in OTHERS:
        raise FileFault(f"{path}: {OTHERS[suffix]} cannot be read; save it as CSV, Parquet or .xlsx")
    from hardgrad_lab.fit.reading.csv_file import read_csv

    return read_csv(path, names, dialect, only)


def has_header(path: Path) -> bool:
    """Return whether the first line of a file of text is no list of numbers."""
    if unpacked_suffix(path) in (*PARQUETS, *SHEETS) or not path.is_file():
        return True
    try:
        find_layout(path, Dialect(), None)
    except NoHeader:
        return False
    except FileFault:
        return True  # it cannot be read at all, which is said when it is
    return True
