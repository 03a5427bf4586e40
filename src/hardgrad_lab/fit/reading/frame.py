"""One file as a table, and how the numbers among its text are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from hardgrad_lab.fit.reading import numerals
from hardgrad_lab.fit.reading.dialect import Dialect
from hardgrad_lab.fit.reading.fault import FileFault, counted
from hardgrad_lab.fit.reading.names import MOST_INPUTS
from hardgrad_lab.fit.reading.numerals import PLAIN, Ambiguous, Numerals


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One file as a table.

    Args:
        path: where it came from.
        columns: by name, as they were read.
        begins: the line of the first row, as an editor counts; 0 for a file without lines, whose rows count from 1.
        names: of all columns of the file, also of those that were not read.
        ways: how numbers in columns of text are written.
        certain: whether some number of the file could not be written in another way.
        unread: columns that hold what no table of numbers can, by name, with what they hold.
        notes: what the user should know.
    """

    path: Path
    columns: pd.DataFrame
    begins: int
    names: tuple[str, ...] = ()
    ways: Numerals = PLAIN
    certain: bool = False
    unread: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> pd.Series:
        """Return the column of a name; no two columns share one."""
        found: Any = self.columns[name]
        return found

    def place(self, row: int) -> str:
        """Return where a row stands in the file."""
        return f"line {row + self.begins}" if self.begins else f"row {row + 1}"


def too_wide(path: Path, columns: int, rows: int) -> FileFault:
    """Return the refusal of a table with more columns than a fit can take."""
    return FileFault(
        f"{path} has {counted(columns, 'column')} and {counted(rows, 'row')}, and a fit takes at most {MOST_INPUTS:,} "
        "inputs; name them with --inputs"
    )


def find_ways(
    path: Path, words: Mapping[str, pa.Array], dialect: Dialect, begins: int, *, points: bool = True
) -> tuple[Numerals, bool]:
    """Return how a file's columns of text write numbers, and whether any could not be written in another way.

    Raises:
        FileFault: if they can be read in two ways, or contradict each other.
    """
    try:
        return numerals.find(words, numerals.allowed(dialect.decimal, dialect.thousands), points=points)
    except Ambiguous as clash:
        place, sign = _placed(words, clash.column, clash.value, begins), "," if "," in clash.value else "."
        if clash.other is None:
            raise FileFault(
                f"{path}: column {place} may be a fraction or have thousands; say --decimal {sign} or "
                f"--thousands {sign}"
            ) from None
        other = _placed(words, clash.other, clash.other_value, begins)
        raise FileFault(
            f"{path}: column {place} and column {other} write numbers in two ways; make them alike, or say which is "
            "right with --decimal , or --decimal ."
        ) from None


def _placed(words: Mapping[str, Any], name: str, value: str, begins: int) -> str:
    row = words[name].index(value).as_py()
    return f"{name!r}, {f'line {row + begins}' if begins else f'row {row + 1}'}: {value!r}"
