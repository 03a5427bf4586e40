"""Files whose columns have types: Parquet, and Excel's sheets where openpyxl is there."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardgrad_lab.fit.reading import numerals
from hardgrad_lab.fit.reading.dialect import Dialect
from hardgrad_lab.fit.reading.fault import FileFault, line_of
from hardgrad_lab.fit.reading.frame import Frame, find_ways, too_wide
from hardgrad_lab.fit.reading.names import MOST_INPUTS, clean_names, named, without_nameless
from hardgrad_lab.fit.reading.numerals import PLAIN

_COMPUTE: Any = pc


def read_parquet(path: Path, dialect: Dialect, only: Collection[str] | None) -> Frame:
    """Read a Parquet file; columns of lists, records or bytes are left unread.

    Raises:
        FileFault: if it cannot be read.
    """
    try:
        file = pq.ParquetFile(path)
        there = clean_names(path, file.schema_arrow.names, 0)
        chosen = [i for i, name in enumerate(there) if only is None or name in only]
        if len(chosen) > MOST_INPUTS:
            raise too_wide(path, len(there), file.metadata.num_rows)
        whole = file.read(columns=[file.schema_arrow.names[i] for i in chosen] if only is not None else None)
    except FileFault:
        raise
    except Exception as error:  # pyarrow raises several unrelated types, depending on where the bytes end
        raise FileFault(f"{path} cannot be read as Parquet: {line_of(error)}") from None
    names = [there[i] for i in chosen]
    unread = {name: str(part.type) for name, part in zip(names, whole.columns, strict=True) if not _flat(part.type)}
    columns = {n: _series(part) for n, part in zip(names, whole.columns, strict=True) if n not in unread}
    if not whole.num_rows:
        raise FileFault(f"{path} has no rows")
    return _frame(path, pd.DataFrame(columns, index=range(whole.num_rows)), there, dialect, unread, ())


def read_excel(path: Path, names: Sequence[str] | None, dialect: Dialect, only: Collection[str] | None) -> Frame:
    """Read the first sheet of an Excel file.

    Raises:
        FileFault: if it cannot be read, or openpyxl is not installed.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise FileFault(f"{path}: Excel files need openpyxl; install it with: pip install 'hardgrad[excel]'")
    try:
        with pd.ExcelFile(path, engine="openpyxl") as book:
            sheets = [str(name) for name in book.sheet_names]
            cells = pd.read_excel(book, sheet_name=sheets[0], header=None, na_values=list(dialect.missing) or None)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, SyntaxError) as error:
        raise FileFault(f"{path} cannot be read as an Excel file: {line_of(error)}") from None
    if len(cells) < (2 if names is None else 1):
        raise FileFault(f"{path} has no rows below its header on its first sheet, {sheets[0]!r}")
    header: Sequence[object] = [None if pd.isna(v) else v for v in cells.iloc[0]] if names is None else names
    if len(header) != cells.shape[1]:
        raise FileFault(f"{path} has {cells.shape[1]} columns, and --columns names {len(header)}: {list(header)}")
    there = clean_names(path, header, 1)
    if len([name for name in there if only is None or name in only]) > MOST_INPUTS:
        raise too_wide(path, len(there), len(cells) - 1)
    frame = cells.iloc[int(names is None) :].reset_index(drop=True).set_axis(there, axis=1).infer_objects()
    frame = frame[[name for name in there if only is None or name in only]]
    notes = [f"{path}: read its first sheet, {sheets[0]!r}, of {len(sheets)}"] if len(sheets) > 1 else []
    return _frame(path, frame, there, dialect, {}, notes, begins=1 + (names is None))


def _frame(
    path: Path, frame: pd.DataFrame, there: Sequence[str], dialect: Dialect, unread: dict[str, str],
    notes: Sequence[str], begins: int = 0,
) -> Frame:  # fmt: skip
    kept, left = without_nameless(path, frame)
    words = {str(n): numerals.texts(c) for n, c in kept.items() if c.dtype == object or pd.api.types.is_string_dtype(c)}
    if dialect.missing:
        for name in words:
            kept[name] = kept[name].where(~kept[name].isin(dialect.missing), None)
    ways, certain = find_ways(path, words, dialect, begins)
    if ways != PLAIN and (dialect.decimal, dialect.thousands) == (None, None):
        left.append(f"{path}: text read with {ways.described()}")
    return Frame(
        path=path, columns=kept, begins=begins, names=named(there), ways=ways, certain=certain, unread=unread,
        notes=(*notes, *left),
    )  # fmt: skip


def _flat(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return not (pa.types.is_nested(inner) or pa.types.is_binary(inner) or pa.types.is_large_binary(inner)
                or pa.types.is_fixed_size_binary(inner))  # fmt: skip


def _series(values: pa.ChunkedArray) -> pd.Series:
    """Return a column as pandas has it: every fraction in double precision, times of day as durations."""
    kind = values.type
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        values = _COMPUTE.cast(values, pa.float64())
    elif pa.types.is_time(kind):
        values = _COMPUTE.cast(_COMPUTE.cast(values, pa.int64() if kind.bit_width == 64 else pa.int32()), pa.int64())
        return pd.to_timedelta(pd.Series(values.to_pandas()), unit=kind.unit)
    found: Any = values.to_pandas(date_as_object=False)
    return found.reset_index(drop=True)
