"""Reading CSV and Parquet files. Each fault is a FileFault: the file, the line or column, and the cure."""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hardgrad_lab.tabular.rows import Array

PARQUETS = (".parquet", ".pq")
DELIMITERS = (",", ";", "\t")


class FileFault(ValueError):
    """A file that cannot serve; the message names it, the fault and what to do."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One file as a table.

    Args:
        path: where it came from.
        columns: by name, as they were read.
        begins: the line of the first row, as an editor counts; 0 for a file without lines, whose rows count from 1.
    """

    path: Path
    columns: pd.DataFrame
    begins: int

    def place(self, row: int) -> str:
        """Return where a row stands in the file."""
        return f"line {row + self.begins}" if self.begins else f"row {row + 1}"


def read_frame(path: Path, names: list[str] | None) -> Frame:
    """Read one CSV or Parquet file.

    Args:
        path: the file; ``.parquet`` and ``.pq`` are Parquet, all else is CSV.
        names: of the columns of a CSV file that has no header; None reads them from its first line.

    Returns:
        The table, its columns as they are.

    Raises:
        FileFault: if there is no such file, or it cannot be read as a table.
    """
    if not path.is_file():
        raise FileFault(f"{path} is not there" if not path.exists() else f"{path} is a folder, not a table")
    if path.suffix.lower() in PARQUETS:
        try:
            return Frame(path=path, columns=_named(pd.read_parquet(path)), begins=0)
        except Exception as error:  # pyarrow raises several unrelated types, depending on where the bytes end
            raise FileFault(f"{path} cannot be read as Parquet: {_line(error)}") from None
    return _read_csv(path, names)


def has_header(path: Path) -> bool:
    """Return whether the first line of a file of text is no list of numbers."""
    if path.suffix.lower() in PARQUETS or not path.is_file():
        return True
    first = _first_line(path)
    return not all(_is_number(field) for field in first.split(max(DELIMITERS, key=first.count)))


def _read_csv(path: Path, names: list[str] | None) -> Frame:
    first = _first_line(path)
    delimiter = max(DELIMITERS, key=first.count)
    fields = next(csv.reader([first], delimiter=delimiter))
    if names is None and all(_is_number(field) for field in fields):
        shown = first if len(first) <= 60 else first[:57] + "..."
        raise FileFault(
            f"{path} has no header: its first line is {shown!r}; name its {_counted(len(fields), 'column')} with "
            f"--columns {','.join('abcdefghijklmnopqrstuvwxyz'[: len(fields)])}"
        )
    if names is not None and len(names) != len(fields):
        raise FileFault(f"{path} has {_counted(len(fields), 'column')}, and --columns names {len(names)}: {names}")
    options: dict[str, Any] = {"header": None, "names": names} if names is not None else {"header": 0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, sep=delimiter, encoding="utf-8-sig", index_col=False, skip_blank_lines=False,
                skipinitialspace=True, low_memory=False, **options,
            )  # fmt: skip
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning, OSError) as error:
        raise FileFault(f"{path} cannot be read as CSV: {_line(error)}") from None
    # Blank lines at the end are no rows; one in the middle is a row without values, and is said.
    filled = np.flatnonzero(frame.notna().any(axis=1).to_numpy())
    if not len(filled):
        raise FileFault(f"{path} has no rows below its header")
    frame = frame.iloc[: int(filled[-1]) + 1]
    return Frame(path=path, columns=_named(frame), begins=1 if names is not None else 2)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline(1_000_000).rstrip("\r\n")
    except UnicodeDecodeError:
        raise FileFault(f"{path} cannot be read as CSV: it is not text in UTF-8") from None
    if "\0" in first:
        raise FileFault(f"{path} cannot be read as CSV: it is not text")
    if not first.strip():
        raise FileFault(f"{path} cannot be read as CSV: its first line, which should name the columns, is empty")
    return first


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame


def numbers(frame: Frame, name: str, option: str) -> Array:
    """Return a column as float64, NaN where there is no value.

    Args:
        frame: the file.
        name: of a column it has.
        option: of the command that named the column, such as ``--inputs``; said in the cure.

    Raises:
        FileFault: for text in the column, with its line.
    """
    column: Any = frame.columns[name]
    if pd.api.types.is_numeric_dtype(column):
        known: Array = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return known
    converted: Any = pd.to_numeric(column, errors="coerce")
    odd = np.flatnonzero((converted.isna() & column.notna()).to_numpy())
    if len(odd):
        value, row = column.iloc[int(odd[0])], int(odd[0])
        cure = "mend it, or leave the line out" if converted.notna().any() else f"choose another column for {option}"
        more = f" and in {len(odd) - 1:,} more rows" if len(odd) > 1 else ""
        raise FileFault(
            f"{frame.path}: column {name!r} must hold numbers, got {value!r} in {frame.place(row)}{more}; {cure}"
        )
    values: Array = converted.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def holds_numbers(frame: Frame, name: str) -> bool:
    """Return whether a column is meant as numbers: at least one of its values is one, or it has none at all."""
    column = frame.columns[name]
    if pd.api.types.is_numeric_dtype(column):
        return True
    converted: Any = pd.to_numeric(column, errors="coerce")
    return bool(converted.notna().any())


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _counted(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("Error tokenizing data. C error: ") if lines else type(error).__name__
