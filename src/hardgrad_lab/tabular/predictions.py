"""Predictions as a table that says which range each row used. Whole or absent."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hardgrad_lab.runs.atomic import write_atomically
from hardgrad_lab.tabular.files import PARQUETS
from hardgrad_lab.tabular.tables import Table

if TYPE_CHECKING:
    from hardgrad_lab.tabular.folder import Model

BLOCK = 1 << 20  # bytes written at a time


def prediction_table(
    model: Model, read: Table, predicted: NDArray[Any], index: NDArray[np.int64], target: str
) -> pd.DataFrame:
    """Return one row for each row read: file and row where there is a choice, key, prediction, range and its label."""
    columns: dict[str, Any] = {}
    if len(read.paths) > 1:
        columns["file"] = np.array([path.name for path in read.paths], dtype=object)[read.file]
    columns["row"] = read.row
    columns[read.key] = read.inputs[read.key].to_numpy()
    columns[f"{target}_predicted"] = predicted
    columns["range"] = index
    labels = [model.ranges_.label(i) for i in range(len(model.ranges_))]
    columns["range_label"] = np.array(labels, dtype=object)[index]
    return pd.DataFrame(columns)


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
