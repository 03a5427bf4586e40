"""Predictions as a table that says which range each row used. Whole or absent."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hardgrad_lab.fit.estimator import SwitchClassifier
from hardgrad_lab.fit.models.labels import labels_of
from hardgrad_lab.fit.reading.files import PARQUETS
from hardgrad_lab.fit.rivals.scores import r_squared, root_mean_square
from hardgrad_lab.fit.tables import Table
from hardgrad_lab.runs.atomic import write_atomically

if TYPE_CHECKING:
    from hardgrad_lab.fit.folder import Model

BLOCK = 1 << 20  # bytes written at a time
PREFIX = "hardgrad_"  # of a column of ours whose name is taken


def prediction_table(
    model: Model, read: Table, predicted: NDArray[Any], index: NDArray[np.int64], target: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return one row for each row read: file and row where there is a choice, key, prediction, range and its label.

    Classes have their probabilities, a column for each.

    Args:
        model: that predicted.
        read: the rows.
        predicted: (n,) numbers or classes, or (n, C) probabilities of the classes.
        index: (n,) the range of each row.
        target: its name.

    Returns:
        The table; and lines on columns that got another name, as the user's files have one of that name.
    """
    notes: list[str] = []
    named = partial(_free_name, read, notes)
    columns: dict[str, Any] = {}
    if len(read.paths) > 1:
        columns[named("file")] = np.array([path.name for path in read.paths], dtype=object)[read.file]
    columns[named("row")] = read.row
    columns[read.key] = _key(read)
    if isinstance(model, SwitchClassifier):
        columns[named(f"{target}_predicted")] = model.classes_[predicted.argmax(axis=1)]
        for i, name in enumerate(model.classes_):
            columns[named(f"{target}={name}")] = predicted[:, i]
    else:
        columns[named(f"{target}_predicted")] = predicted
    columns[named("range")] = index
    columns[named("range_label")] = np.array(labels_of(model.ranges_, read.key_categories), dtype=object)[index]
    return pd.DataFrame(columns), notes


def _free_name(read: Table, notes: list[str], name: str) -> str:
    """Return the name for a column of ours: another where the user's files have a column of that name."""
    free = name
    while free in read.names or free == read.key:
        free = f"{PREFIX}{free}"
    if free != name:
        notes.append(f"the column {name} of the predictions is called {free}, as the files have a column {name}")
    return free


def _key(read: Table) -> NDArray[Any]:
    key: NDArray[Any] = read.inputs[read.key].to_numpy()
    return np.array(read.key_categories, dtype=object)[key.astype(np.int64)] if read.key_categories else key


def score_line(read: Table, predicted: NDArray[Any], classes: NDArray[Any] | None, target: str) -> str | None:
    """Return how good the predictions are where the files hold the target, too; None where they do not.

    Args:
        read: the rows; a target of NaN or "" is not known.
        predicted: (n,), or (n, C) probabilities of ``classes``.
        classes: that a classifier knows, or None.
        target: its name.
    """
    if read.target is None:
        return None
    known = read.target != "" if classes is not None else np.isfinite(read.target)
    if not known.any():
        return None
    truth, said = read.target[known], predicted[known]
    share = "" if known.all() else f" on the {int(known.sum()):,} rows whose {target} is known"
    if classes is not None:
        right = float((classes[said.argmax(axis=1)] == truth).mean())
        return f"{target} is there, too: the predicted class is right in {right:.2%} of the rows{share}"
    r2 = r_squared(truth, said)
    also = "" if r2 is None else f", R2 {r2:.4f}"
    return f"{target} is there, too: RMSE {root_mean_square(truth - said):.4g}{also}{share}"


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, by the path's suffix."""
    buffer = io.BytesIO()
    if path.suffix.lower() in PARQUETS:
        table.to_parquet(buffer, index=False)
    else:
        table.to_csv(buffer, index=False)
    _write(path, buffer)


def share_of_ranges(model: Model, read: Table, index: NDArray[np.int64]) -> Iterator[str]:
    """Yield one line for each range, its share of the rows; and one for keys outside all points."""
    ranges = model.ranges_
    key = read.inputs[read.key].to_numpy()
    outside = int(((key < ranges.points[0]) | (key > ranges.points[-1])).sum())
    return lines_of_ranges(model, np.bincount(index, minlength=len(ranges)).tolist(), outside)


def lines_of_ranges(model: Model, counts: Sequence[int], outside: int) -> Iterator[str]:
    """Yield one line for each range, its share of the rows; and one for keys outside all points."""
    ranges = model.ranges_
    width = max(len(ranges.label(i)) for i in range(len(ranges)))
    for i, count in enumerate(counts):
        yield f"range {i}  {ranges.label(i):<{width}}  {count:>9,} rows  {count / sum(counts):>6.1%}"
    if outside:
        low, high = ranges.points[0], ranges.points[-1]
        yield f"{outside:,} keys lie outside [{low:g}, {high:g}]; the nearest range took them"


def _write(path: Path, buffer: io.BytesIO) -> None:
    def write(file: Any) -> None:
        content = buffer.getbuffer()
        for start in range(0, len(content), BLOCK):
            file.write(content[start : start + BLOCK])

    write_atomically(path, write)
