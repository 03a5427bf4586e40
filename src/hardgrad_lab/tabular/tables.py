"""From files to what a model is fitted to: one table over all recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hardgrad_lab.tabular.files import FileFault, Frame, holds_numbers, numbers, read_frame
from hardgrad_lab.tabular.rows import Array

INPUT, TARGET = "input", "target"  # the columns of a pair of files
SHOWN = 5  # rows that a message lists


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns play which part.

    Args:
        target: what to predict; None where only inputs are wanted.
        key: what decides; None takes the only input there is.
        inputs: what the branches see, or None for every column of numbers but the target.
    """

    target: str | None
    key: str | None
    inputs: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of all recordings, one after another.

    Args:
        inputs: (n, F) numbers; it always holds the key, too.
        target: (n,), or None.
        key: the column that decides.
        groups: (n,) a number for each stretch of rows without a gap; windows stay within one.
        file: (n,) which file a row came from.
        row: (n,) its row in that file, from 0.
        paths: of the files.
        rate: samples a second of sounds; None for tables.
        notes: what the user should know.
        facts: what ``model.json`` says of the files, such as the rate of sounds.
    """

    inputs: pd.DataFrame
    target: Array | None
    key: str
    groups: NDArray[np.int64]
    file: NDArray[np.int64]
    row: NDArray[np.int64]
    paths: list[Path]
    rate: int | None = None
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.groups)


def read_table(paths: Sequence[Path], columns: Columns, names: list[str] | None, *, drop_missing: bool) -> Table:
    """Read CSV or Parquet files as recordings of one table.

    Args:
        paths: at least one.
        columns: which play which part.
        names: of the columns of files without a header; None where they have one.
        drop_missing: leave out rows that lack a value; a recording is cut in two there.

    Returns:
        The table.

    Raises:
        FileFault: for a file that cannot be read, a missing column, text among numbers, or rows without a value.
    """
    frames = [read_frame(path, names) for path in paths]
    columns, notes = _settled(frames, columns)
    assert columns.key is not None
    assert columns.inputs is not None
    seen = list(columns.inputs) if columns.key in columns.inputs else [*columns.inputs, columns.key]
    wanted = seen if columns.target is None else [*seen, columns.target]
    parts = [pd.DataFrame({name: numbers(frame, name, _option(columns, name)) for name in wanted}) for frame in frames]
    kept = [_without_gaps(frame, part, drop_missing) for frame, part in zip(frames, parts, strict=True)]
    for frame, keep in zip(frames, kept, strict=True):
        if dropped := int((~keep).sum()):
            notes.append(f"{frame.path}: left out {dropped:,} of {len(keep):,} rows, which lack a value")
        if not keep.any():
            raise FileFault(f"{frame.path} has no row that has all of {', '.join(wanted)}")
    whole: Any = pd.concat([part[keep] for part, keep in zip(parts, kept, strict=True)], ignore_index=True)
    row = np.concatenate([np.flatnonzero(keep) for keep in kept])
    file = np.repeat(np.arange(len(kept)), [int(keep.sum()) for keep in kept])
    begins = np.concatenate([[True], (np.diff(row) != 1) | (np.diff(file) != 0)])
    target = None if columns.target is None else whole[columns.target].to_numpy(dtype=np.float64)
    return Table(
        inputs=whole[seen],
        target=target,
        key=columns.key,
        groups=np.cumsum(begins) - 1,
        file=file,
        row=row,
        paths=list(paths),
        notes=notes,
    )


def _settled(frames: Sequence[Frame], columns: Columns) -> tuple[Columns, list[str]]:
    """Return the columns with key and inputs decided, each there in every file, and notes on what was left out."""
    first, notes = frames[0], []
    there = list(first.columns.columns)
    inputs = list(columns.inputs) if columns.inputs is not None else None
    for frame in frames:
        for name in [columns.target, columns.key, *(inputs or [])]:
            if name is not None and name not in frame.columns.columns:
                raise FileFault(_missing(frame, name, columns))
    if inputs is None:
        others = [name for name in there if name != columns.target]
        inputs = [name for name in others if any(holds_numbers(f, name) for f in frames if name in f.columns)]
        if left := [name for name in others if name not in inputs]:
            notes.append(f"left out, as they hold text: {', '.join(left)}")
        for frame in frames:
            if lacking := [name for name in inputs if name not in frame.columns.columns]:
                raise FileFault(_missing(frame, lacking[0], columns))
    if columns.target in inputs:
        raise FileFault(f"--inputs must not hold the target, got {columns.target!r} in both; take it out of one")
    key = columns.key
    if key is None:
        if len(inputs) != 1:
            raise FileFault(f"--key must name the column that decides; {first.path} has {', '.join(inputs) or 'none'}")
        key = inputs[0]
    if key == columns.target:
        raise FileFault(f"--key must not be the target, got {key!r} for both; the target is not known when predicting")
    return Columns(target=columns.target, key=key, inputs=inputs), notes


def _missing(frame: Frame, name: str, columns: Columns) -> str:
    there = ", ".join(map(str, frame.columns.columns))
    return f"{frame.path} has no column {name!r} ({_option(columns, name)}); it has {there}"


def _option(columns: Columns, name: str) -> str:
    if name == columns.target:
        return "--target"
    return "--key" if name == columns.key else "--inputs"


def _without_gaps(frame: Frame, part: pd.DataFrame, drop_missing: bool) -> NDArray[np.bool_]:
    """Return which rows have every value, or raise a FileFault that lists those that have not."""
    missing = ~np.isfinite(part.to_numpy())
    rows = np.flatnonzero(missing.any(axis=1))
    if len(rows) and not drop_missing:
        names = np.array(part.columns)
        listed = [f"{frame.place(int(row))} ({', '.join(names[missing[row]])})" for row in rows[:SHOWN]]
        more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
        raise FileFault(
            f"{frame.path}: {len(rows):,} of {len(part):,} rows lack a value: {', '.join(listed)}{more}; fill them, "
            "or leave them out with --drop-missing"
        )
    return np.asarray(~missing.any(axis=1))
