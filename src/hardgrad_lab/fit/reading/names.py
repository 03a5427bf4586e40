"""The names of a file's columns: trimmed, each once; columns without a name are left out, and said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hardgrad_lab.fit.reading.fault import FileFault

MOST_INPUTS = 1_000  # columns: the search for ranges takes 10 s with 40, and a table of more is mostly a mistake
NAMELESS = "\0column "  # a name that no file can have
INDEX = "__index_level_0__"  # how Parquet calls a pandas index that has no name


def clean_names(path: Path, names: Sequence[object], line: int) -> list[str]:
    """Return a file's column names without blanks around them; those without a name get one by their number.

    Args:
        path: of the file.
        names: as they stand there.
        line: of the header, to be named; 0 where there are no lines.

    Raises:
        FileFault: for a name that is there twice.
    """
    trimmed = ["" if name is None else str(name).strip() for name in names]
    seen: dict[str, int] = {}
    for number, name in enumerate(trimmed, 1):
        if name and name in seen:
            where = f"line {line}: " if line else ""
            raise FileFault(
                f"{path}: {where}columns {seen[name]} and {number} are both named {name!r} (blanks around a name do "
                "not count); rename one"
            )
        seen[name] = number
    return [name or f"{NAMELESS}{number}" for number, name in enumerate(trimmed, 1)]


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of ``clean_names`` that stand in the file."""
    return tuple(name for name in names if not name.startswith(NAMELESS))


def without_nameless(path: Path, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a frame without the columns that have no name, and a line for each that held something."""
    notes, nameless = [], []
    for number, (name, column) in enumerate(frame.items(), 1):
        if not str(name).startswith(NAMELESS) and name != INDEX:
            continue
        nameless.append(name)
        if _counts_rows(column):
            notes.append(f"{path}: left out column {number}, which has no name and counts the rows")
        elif bool(column.notna().any()):
            notes.append(f"{path}: left out column {number}, which has no name; name it to use it")
    return frame.drop(columns=nameless), notes


def _counts_rows(column: pd.Series) -> bool:
    numeric: Any = pd.to_numeric(column, errors="coerce")
    values = numeric.to_numpy(dtype=np.float64)
    return len(values) > 0 and bool(np.isfinite(values).all() and (np.diff(values) == 1).all())
