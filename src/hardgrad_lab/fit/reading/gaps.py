"""Rows without a value, or with one that is not finite: refused by line, or left out and counted by column."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hardgrad_lab.fit.reading.fault import FileFault
from hardgrad_lab.fit.reading.frame import Frame

SHOWN = 5  # rows that a message lists
TARGETS = "\0target"  # the target's column among the inputs': a name that no file can have


def without_gaps(
    frame: Frame, table: pd.DataFrame, target: str | None, drop: bool, notes: list[str]
) -> NDArray[np.bool_]:
    """Return which rows have every value.

    Args:
        frame: the file.
        table: its numbers, NaN for what is missing.
        target: its name, or None.
        drop: leave rows out; else they are refused.
        notes: gets a line on what was left out.

    Raises:
        FileFault: if some row lacks a value and nothing may be dropped, or no row is left.
    """
    gaps = ~np.isfinite(table.to_numpy(dtype=np.float64))
    rows = np.flatnonzero(gaps.any(axis=1))
    if not len(rows):
        return np.ones(len(table), dtype=bool)
    names = [target or "" if name == TARGETS else str(name) for name in table.columns]
    infinite = np.isinf(table.to_numpy(dtype=np.float64))
    if not drop:
        raise FileFault(_refusal(frame, names, gaps, infinite, rows))
    if len(rows) == len(table):
        raise FileFault(f"{frame.path} has no row that has all of {', '.join(names)}: {_by_column(names, gaps)}")
    also = f", {int(infinite.any(axis=1).sum()):,} of them with one that is not finite" if infinite.any() else ""
    notes.append(
        f"{frame.path}: left out {len(rows):,} of {len(table):,} rows, which lack a value{also}: "
        f"{_by_column(names, gaps)}"
    )
    return np.asarray(~gaps.any(axis=1))


def _refusal(
    frame: Frame, names: list[str], gaps: NDArray[np.bool_], infinite: NDArray[np.bool_], rows: NDArray[np.int64]
) -> str:
    count = f"{frame.path}: {len(rows):,} of {len(gaps):,} rows"
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    only_infinite = bool((gaps == infinite).all())
    shown = []
    for row in rows[:SHOWN]:
        said = _columns_of(names, gaps[row] & ~infinite[row]), _columns_of(names, infinite[row])
        parts = [said[0], said[1] and (said[1] if only_infinite else f"{said[1]} not finite")]
        shown.append(f"{frame.place(int(row))} ({', '.join(part for part in parts if part)})")
    what = "have a value that is not finite" if only_infinite else "lack a value"
    return f"{count} {what}: {', '.join(shown)}{more}; fill them, or leave them out with --drop-missing"


def _columns_of(names: list[str], marked: NDArray[np.bool_]) -> str:
    return ", ".join(dict.fromkeys(_short(names[i]) for i in np.flatnonzero(marked)))


def _by_column(names: list[str], gaps: NDArray[np.bool_]) -> str:
    counts: dict[str, int] = {}
    for name, count in zip(names, gaps.sum(axis=0), strict=True):
        if count:
            counts[_short(name)] = int(count)
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _short(name: str) -> str:
    """Return a column's name without the category that an input of it stands for."""
    return name.split("=")[0]
