"""From files to what a model is fitted to: one table over all recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hardgrad_lab.fit.reading.asked import Columns, Reading
from hardgrad_lab.fit.reading.choose import Parts, check_there, choose
from hardgrad_lab.fit.reading.columns import Column, codes, numbers, unseen, values
from hardgrad_lab.fit.reading.files import FileFault, Frame, read_frame
from hardgrad_lab.fit.reading.gaps import TARGETS, without_gaps
from hardgrad_lab.fit.rows import Array

__all__ = ["INPUT", "Columns", "FileFault", "Frame", "Reading", "Table", "read_table"]

INPUT = "input"  # the column of a pair of sounds
SHOWN = 5  # rows that a message lists
STRETCHES = 30  # of sounds too long to be used whole


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of all recordings, one after another.

    Args:
        inputs: (n, F) numbers; it always holds the key, too.
        target: (n,) numbers, or names of classes, or None; where a model predicts, NaN and "" for what is not known.
        key: the column that decides.
        groups: (n,) a number for each stretch of rows without a gap; windows stay within one.
        file: (n,) which file a row came from.
        row: (n,) its row in that file, from 0.
        paths: of the files.
        rate: samples a second of sounds; None for tables.
        notes: what the user should know.
        columns: of the user's, that the inputs are made of; the key's among them.
        names: of all columns that the files have.
        facts: what ``model.json`` says of the files, such as what each column holds, or the rate of sounds.
    """

    inputs: pd.DataFrame
    target: NDArray[Any] | None
    key: str
    groups: NDArray[np.int64]
    file: NDArray[np.int64]
    row: NDArray[np.int64]
    paths: list[Path]
    rate: int | None = None
    notes: list[str] = field(default_factory=list)
    columns: tuple[Column, ...] = ()
    names: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def classes(self) -> bool:
        """Return whether the target's values are names of classes."""
        return self.target is not None and self.target.dtype.kind == "U"

    @property
    def key_categories(self) -> tuple[str, ...]:
        """Return what the key's numbers stand for, where it is a column of categories; else nothing."""
        return next((column.categories for column in self.columns if column.name == self.key), ())

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change when any number does."""
        hashed = hashlib.sha256(" ".join(self.inputs.columns).encode())
        for part in (self.inputs.to_numpy(), self.target, self.groups):
            if part is not None:
                hashed.update(np.ascontiguousarray(part).tobytes())
        return hashed.hexdigest()[:16]


def shortened(read: Table, most: int) -> Table:
    """Return a table of sounds with at most so many rows: stretches spread evenly over it, each a recording of its own.

    What a fit needs grows with the rows; an hour of sound says little that some minutes of it do not.
    """
    if read.rate is None or len(read) <= most:
        return read
    starts = np.linspace(0, len(read) - most // STRETCHES, STRETCHES).astype(np.int64)
    rows = (starts[:, None] + np.arange(most // STRETCHES)).reshape(-1)
    cuts = np.repeat(np.arange(STRETCHES), most // STRETCHES) * (int(read.groups.max()) + 1) + read.groups[rows]
    said = (
        f"of {len(read) / read.rate:,.0f} s of sound, {STRETCHES} stretches of {most // STRETCHES / read.rate:.3g} s "
    )
    return replace(
        read,
        inputs=read.inputs.iloc[rows].reset_index(drop=True),
        target=None if read.target is None else read.target[rows],
        groups=np.unique(cuts, return_inverse=True)[1].reshape(-1),
        file=read.file[rows],
        row=read.row[rows],
        notes=[*read.notes, f"{said}were used, spread evenly, so that memory stays bounded"],
    )


def read_table(
    paths: Sequence[Path],
    columns: Columns,
    names: list[str] | None,
    *,
    drop_missing: bool,
    how: Reading | None = None,
) -> Table:
    """Read files of text, Parquet or Excel files as recordings of one table.

    Args:
        paths: at least one.
        columns: which play which part.
        names: of the columns of files without a header; None where they have one.
        drop_missing: leave out rows that lack a value; a recording is cut in two there.
        how: what else the user says of the files, and the columns of a fitted model.

    Returns:
        The table.

    Raises:
        FileFault: for a file that cannot be read, a missing column, text among numbers, or rows without a value.
    """
    how = how or Reading()
    frames = [read_frame(path, names, how.dialect, _only(columns)) for path in paths]
    notes = [note for frame in frames for note in frame.notes]
    _check_alike(frames)
    parts, said = choose(frames, columns, how) if how.known is None else _known(frames, columns, how.known)
    wanted = {column.name: column for column in (*parts.inputs, parts.key)}
    tables = [_numbers(frame, parts, columns) for frame in frames]
    needed = tables if how.known is None else [table.drop(columns=TARGETS, errors="ignore") for table in tables]
    pairs = zip(frames, needed, strict=True)
    kept = [without_gaps(frame, table, columns.target, drop_missing, notes) for frame, table in pairs]
    whole: Any = pd.concat([part[keep] for part, keep in zip(tables, kept, strict=True)], ignore_index=True)
    row = np.concatenate([np.flatnonzero(keep) for keep in kept])
    file = np.repeat(np.arange(len(kept)), [int(keep.sum()) for keep in kept])
    begins = np.concatenate([[True], (np.diff(row) != 1) | (np.diff(file) != 0)])
    return Table(
        inputs=whole[list(how.inputs)] if how.inputs else whole.drop(columns=TARGETS, errors="ignore"),
        target=_target_of(whole, parts.target),
        key=parts.key.name,
        groups=np.cumsum(begins) - 1,
        file=file,
        row=row,
        paths=list(paths),
        notes=[*notes, *said],
        columns=tuple(wanted.values()),
        facts={"table": _facts(tuple(wanted.values()), parts.target, how)},
        names=frozenset(name for frame in frames for name in frame.names),
    )


def _facts(columns: Sequence[Column], target: Column | None, how: Reading) -> dict[str, Any]:
    """Return what a model must know to read other files like these."""
    return {
        "columns": [column.to_json() for column in columns],
        "target": None if target is None else target.to_json(),
        "missing": list(how.dialect.missing),
    }


def _only(columns: Columns) -> set[str] | None:
    """Return the columns to read; None where the user left the choice open."""
    if columns.inputs is None:
        return None
    return {name for name in (columns.target, columns.key, *columns.inputs) if name is not None}


def _check_alike(frames: Sequence[Frame]) -> None:
    """Raise a FileFault where one file writes decimal commas and another decimal points."""
    sure: dict[str, Frame] = {}
    for frame in frames:
        if frame.certain:
            sure.setdefault(frame.ways.decimal, frame)
    if len(sure) > 1:
        raise FileFault(
            f"{sure[','].path} has commas as decimal points and {sure['.'].path} has points; write them alike, or "
            "save one of them as Parquet"
        )


def _known(frames: Sequence[Frame], columns: Columns, known: Sequence[Column]) -> tuple[Parts, list[str]]:
    """Return the columns of a fitted model; the target where every file has it and it can be compared."""
    by_name = {column.name: column for column in known}
    key = str(columns.key)
    inputs = tuple(column for column in known if column.name != columns.target)
    check_there(frames, Columns(target=None, key=key, inputs=[column.name for column in inputs]))
    notes, target = [], by_name.get(str(columns.target))
    if target is not None and any(target.name not in frame.columns for frame in frames):
        target = None
    for frame in frames:
        notes += _unseen_notes(frame, inputs, key)
    return Parts(target=target, key=by_name[key], inputs=inputs), notes


def _unseen_notes(frame: Frame, inputs: Sequence[Column], key: str) -> list[str]:
    """Return lines on values that are no category of the model's; raise a FileFault where the key has them."""
    notes = []
    for column in inputs:
        new = unseen(frame, column) if column.kind == "category" else {}
        if not new:
            continue
        rows = sum(len(places) for places in new.values())
        shown = ", ".join(f"{value!r} in {frame.place(places[0])}" for value, places in list(new.items())[:SHOWN])
        if column.name == key:
            raise FileFault(
                f"{frame.path}: column {key!r}, the key, has values in {rows:,} rows that the model knows no branch "
                f"for: {shown}; it knows {', '.join(column.categories)}: leave these rows out"
            )
        notes.append(f"{frame.path}: {rows:,} rows have a value of {column.name} that was not there in the fit, and "
                     f"is taken as none of its categories: {shown}")  # fmt: skip
    return notes


def _numbers(frame: Frame, parts: Parts, columns: Columns) -> pd.DataFrame:
    """Return one file's inputs, the key, and last the target, as numbers."""
    options = {columns.key: "--key"}
    found = [values(frame, column, options.get(column.name, "--inputs")) for column in parts.inputs]
    if parts.key.kind == "category":
        found.append(pd.DataFrame({parts.key.name: codes(frame, parts.key)}))
    elif parts.key not in parts.inputs:
        found.append(values(frame, parts.key, "--key"))
    if parts.target is not None:
        found.append(pd.DataFrame({TARGETS: _target_numbers(frame, parts.target)}))
    whole = pd.concat(found, axis=1)
    if twice := [str(name) for name in whole.columns[whole.columns.duplicated()]]:
        raise FileFault(f"{frame.path}: column {twice[0]!r} has the name of a category's input; rename it")
    return whole


def _target_numbers(frame: Frame, target: Column) -> Array:
    if target.kind == "category":
        return codes(frame, target)
    return numbers(frame, target.name, "--target", target.kind)


def _target_of(whole: pd.DataFrame, target: Column | None) -> NDArray[Any] | None:
    if target is None:
        return None
    found: Array = whole[TARGETS].to_numpy(dtype=np.float64)
    if target.kind != "category":
        return found
    named: NDArray[Any] = np.array(["", *target.categories])
    return np.asarray(named[np.where(np.isfinite(found), found + 1, 0).astype(np.int64)])
