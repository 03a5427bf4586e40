"""One file of text as columns: numbers where all values are plain ones, text where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hardgrad_lab.fit.reading import numerals
from hardgrad_lab.fit.reading.dialect import BLANKS, Dialect, Layout, find_layout
from hardgrad_lab.fit.reading.fault import FileFault, line_of
from hardgrad_lab.fit.reading.frame import Frame, find_ways, too_wide
from hardgrad_lab.fit.reading.names import MOST_INPUTS, clean_names, named, without_nameless
from hardgrad_lab.fit.reading.numerals import PLAIN, Ambiguous, Numerals
from hardgrad_lab.fit.reading.opened import LATIN, count_lines, opened

EUROPEAN = ";"  # between columns where commas are decimal points; there 1.234 may well be 1234, so it is asked for
# Of old, pandas rounded the last digit of some fractions wrongly unless told; now it does not, and warns of the word.
_OLD = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
EXACTLY: dict[str, Any] = {"float_precision": "round_trip"} if _OLD else {}


def read_csv(path: Path, names: Sequence[str] | None, dialect: Dialect, only: Collection[str] | None) -> Frame:
    """Read a file of text.

    Args:
        path: the file, which may be packed.
        names: of its columns where it has no header; None reads them from its first line.
        dialect: what the user says of it.
        only: the columns to read; None reads all.

    Raises:
        FileFault: if it cannot be read as a table.
    """
    layout = find_layout(path, dialect, names)
    there = clean_names(path, layout.names, layout.skipped + 1)
    chosen = [i for i, name in enumerate(there) if only is None or name in only]
    if len(chosen) > MOST_INPUTS:
        raise too_wide(path, len(there), count_lines(path) - layout.begins + 1)
    frame, layout, plain = _columns(path, layout, dialect, chosen)
    frame.columns = [there[int(name)] for name in frame.columns]
    begins = layout.begins if not _has_line_breaks(frame) else 0
    found = list(layout.found)
    ways, certain = PLAIN, any(_has_fractions(column) for _, column in frame.items())
    if not plain:
        words = {str(name): numerals.texts(column) for name, column in frame.items()}
        ways, certain = find_ways(path, words, dialect, begins, points=layout.delimiter != EUROPEAN)
        frame = _with_numbers(frame, words, ways)
        asked = (dialect.decimal, dialect.thousands) != (None, None)
        found += [ways.described()] if ways != PLAIN and not asked else []
    notes = [f"{path}: read with {', '.join(found)}"] if found else []
    if plain and dialect.decimal is None and _may_be_groups(frame) and _all_groups(path, layout, dialect, chosen):
        notes.append(
            f"{path}: all fractions have three digits, such as 1.234: if these are thousands, add --thousands ."
        )
    kept, left = without_nameless(path, frame)
    return Frame(
        path=path, columns=kept, begins=begins, names=named(there), ways=ways, certain=certain, notes=(*notes, *left)
    )


def _columns(path: Path, layout: Layout, dialect: Dialect, chosen: Sequence[int]) -> tuple[pd.DataFrame, Layout, bool]:
    """Return the rows, typed where all numbers are plain ones, else all as text; and which of both it is.

    A typed read is quick and small, so it comes first.
    """
    if dialect.decimal in (None, ".") and dialect.thousands is None:
        frame, layout = _parsed(path, layout, dialect, chosen, as_text=False)
        doubtful = layout.delimiter == EUROPEAN and dialect.decimal is None and _may_be_groups(frame)
        if not doubtful and _all_plain(frame):
            return frame, layout, True
    frame, layout = _parsed(path, layout, dialect, chosen, as_text=True)
    return frame, layout, False


def _with_numbers(frame: pd.DataFrame, words: Mapping[str, pa.Array], ways: Numerals) -> pd.DataFrame:
    """Return a frame of text with each column that holds nothing but numbers as these."""
    columns = {}
    for name, values in words.items():
        fits = numerals.matches(values, ways)
        whole = fits.any() and int(fits.sum()) == len(values) - values.null_count
        columns[name] = numerals.parse(values, ways) if whole else frame[name]
    return pd.DataFrame(columns, index=frame.index)


def _has_fractions(column: pd.Series) -> bool:
    return column.dtype.kind == "f" and bool((column.dropna() % 1 != 0).any())


def _may_be_groups(frame: pd.DataFrame) -> bool:
    """Return whether every fraction might be a number with a point between its thousands, such as 1.234."""
    fractions = [column for _, column in frame.items() if _has_fractions(column)]
    if fractions:
        return all(map(_below_a_thousand, fractions))
    # 1.000 alone is no fraction and may be a thousand, too: how it is written decides.
    return any(_below_a_thousand(column) for _, column in frame.items() if column.dtype.kind == "f")


def _below_a_thousand(column: pd.Series) -> bool:
    """Return whether all values have three digits at most before and behind the point; a zero says nothing."""
    part = column.dropna().abs()
    return bool((((part >= 1) | (part == 0)) & (part < 1000) & ((part * 1000).round(6) % 1 == 0)).all())


def _all_groups(path: Path, layout: Layout, dialect: Dialect, chosen: Sequence[int]) -> bool:
    """Return whether every fraction is written as a number with a point between its thousands would be."""
    frame, _ = _parsed(path, layout, dialect, chosen, as_text=True)
    try:
        numerals.find({str(n): numerals.texts(c) for n, c in frame.items()}, numerals.KNOWN, points=False)
    except Ambiguous:
        return True
    return False


def _parsed(
    path: Path, layout: Layout, dialect: Dialect, chosen: Sequence[int], *, as_text: bool
) -> tuple[pd.DataFrame, Layout]:
    """Return the rows of a file down to the last that has a value, and its layout, maybe in another encoding."""
    try:
        frame = _parse(path, layout, dialect, chosen, as_text)
    except UnicodeDecodeError as error:
        if dialect.encoding is not None or not layout.encoding.startswith("utf-8"):
            raise FileFault(f"{path} is not text in {layout.encoding} ({error.reason}); say --encoding") from None
        # The letter that is none in UTF-8 came after the head.
        again = Layout(**{**vars(layout), "encoding": LATIN, "found": (*layout.found, "Latin-1 (cp1252) as encoding")})
        return _parsed(path, again, dialect, chosen, as_text=as_text)
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        if isinstance(error, FileFault):
            raise
        said = line_of(error)
        cure = "; if commas are decimal points here, put semicolons between the columns" if "saw" in said else ""
        raise FileFault(f"{path} cannot be read as CSV: {said}{cure if layout.delimiter == ',' else ''}") from None
    # Blank lines at the end are no rows; one in the middle is a row without values, and is said.
    filled = np.flatnonzero(frame.notna().any(axis=1).to_numpy())
    if not len(filled):
        raise FileFault(f"{path} has no rows below its header")
    return frame.iloc[: int(filled[-1]) + 1], layout


def _parse(path: Path, layout: Layout, dialect: Dialect, chosen: Sequence[int], as_text: bool) -> pd.DataFrame:
    options: dict[str, Any] = {"dtype": str} if as_text else {"low_memory": False, **EXACTLY}
    if len(chosen) < len(layout.names):
        options["usecols"] = [str(i) for i in chosen]
    else:
        options["index_col"] = False
    with warnings.catch_warnings(), opened(path) as file:
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            file, sep=layout.delimiter, encoding=layout.encoding, header=0 if layout.headed else None,
            names=[str(i) for i in range(len(layout.names))], skiprows=layout.skipped, skip_blank_lines=False,
            skipinitialspace=layout.delimiter != BLANKS, na_values=list(dialect.missing) or None, **options,
        )  # fmt: skip


def _all_plain(frame: pd.DataFrame) -> bool:
    """Return whether the numbers among a frame's text, if any, are plain ones."""
    words = [numerals.texts(column) for _, column in frame.items() if _is_text(column)]
    try:
        return all(numerals.find({"": values}, numerals.KNOWN)[0] == PLAIN for values in words)
    except Ambiguous:
        return False


def _is_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def _has_line_breaks(frame: pd.DataFrame) -> bool:
    """Return whether a quoted value spans lines, so that lines no longer count rows."""
    words = [column for _, column in frame.items() if _is_text(column)]
    return any(bool(column.astype(str).str.contains("\n", regex=False).any()) for column in words)
