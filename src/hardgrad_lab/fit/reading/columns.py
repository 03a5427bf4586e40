"""What a column holds, decided from all its values: numbers, yes and no, dates, durations, or a few categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hardgrad_lab.fit.reading import dates, numerals
from hardgrad_lab.fit.reading.fault import FileFault
from hardgrad_lab.fit.reading.frame import Frame
from hardgrad_lab.fit.rows import Array

_COMPUTE: Any = pc
Kind = Literal["number", "boolean", "date", "duration", "category"]
MOST_CATEGORIES = 20  # that text has without anybody asking for them
ROWS_EACH = 5  # that a category should have on average
EXACT = 2**53  # whole numbers beyond it are not all in float64
_BOOLEANS = r"^(?i:true|false)$"
_STANDS_FOR_MISSING = ("-", "--", "?", ".", "..", "...", "*", "#", "x", "missing", "unknown", "none", "n.a.", "k.a.")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the user's, and how it becomes numbers.

    Args:
        name: in the files.
        kind: what it holds.
        categories: in order, where that is what it holds.
    """

    name: str
    kind: Kind = "number"
    categories: tuple[str, ...] = ()

    def inputs(self) -> list[str]:
        """Return the names of the numbers that it becomes."""
        return [f"{self.name}={value}" for value in self.categories] if self.kind == "category" else [self.name]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "categories": list(self.categories)}

    @classmethod
    def from_json(cls, said: Any) -> Column:
        """Return what ``to_json`` wrote, or raise a ValueError for anything else."""
        if not (
            isinstance(said, dict)
            and isinstance(said.get("name"), str)
            and said.get("kind") in get_args(Kind)
            and isinstance(said.get("categories"), list)
            and all(isinstance(value, str) for value in said["categories"])
        ):
            raise ValueError(f"a column must have a name, a kind and categories, got {str(said)[:80]!r}")
        return cls(name=said["name"], kind=said["kind"], categories=tuple(said["categories"]))


def words_of(column: pd.Series) -> pa.Array:
    """Return values as the names of categories: 3.0 is the category 3."""
    if pd.api.types.is_float_dtype(column):
        known = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return pa.array([None if np.isnan(v) else str(int(v)) if v == int(v) else repr(float(v)) for v in known])
    return numerals.texts(column)


def categories_of(columns: Sequence[pd.Series]) -> tuple[str, ...]:
    """Return the different values of a column over all files, whole numbers by size, else by the alphabet."""
    found = {str(value) for column in columns for value in words_of(column).drop_null().unique().to_pylist()}
    if all(word.lstrip("-").isdigit() for word in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def kind_of(frames: Sequence[Frame], name: str) -> Kind | None:
    """Return what a column holds over all files; None where no file has a value of it.

    Text is numbers where half of it or more is, so that a few stray words are found and said, not made categories.
    """
    kinds = {kind for frame in frames if (kind := _typed(frame, name)) != "none"}
    if not kinds:
        return None
    if len(kinds) == 1 and (kind := kinds.pop()) != "text":
        return kind  # type: ignore[return-value]  # the rest of what _typed returns
    fitting, known = 0, 0
    for frame in frames:
        words = numerals.texts(frame.column(name))
        fitting += int(numerals.matches(words, frame.ways).sum())
        known += len(words) - words.null_count
    return "number" if 2 * fitting >= known or _only_lacks(frames, name) else "category"


def values(frame: Frame, column: Column, option: str) -> pd.DataFrame:
    """Return a column as float64 numbers, NaN where there is no value; a category is one input for each.

    Args:
        frame: the file.
        column: which, and what it holds.
        option: of the command that named it; said in the cure.

    Raises:
        FileFault: for a value that is none of its kind, with its line.
    """
    if column.kind == "category":
        return _one_hot(frame, column)
    return pd.DataFrame({column.name: numbers(frame, column.name, option, column.kind)})


def numbers(frame: Frame, name: str, option: str, kind: Kind = "number") -> Array:
    """Return a column as float64, NaN where there is no value.

    Raises:
        FileFault: for a value that is none of the kind, with its line and the cure.
    """
    column, typed = frame.column(name), _typed(frame, name)
    if kind in ("number", "boolean") and pd.api.types.is_numeric_dtype(column):
        whole: Any = column.astype("Float64") if pd.api.types.is_bool_dtype(column) else column
        found: Array = whole.to_numpy(dtype=np.float64, na_value=np.nan)
        return found
    if kind == typed and column.dtype.kind in "Mm":
        return dates.days(column)
    words = numerals.texts(column)
    parsers = {"boolean": _booleans, "date": dates.days_of_text, "duration": dates.durations_of_text}
    found = parsers[kind](words) if kind in parsers else numerals.parse(words, frame.ways)
    _refuse_odd(frame, name, option, kind, found, words)
    return found


def codes(frame: Frame, column: Column) -> Array:
    """Return the number of each row's category, NaN where it has none of them."""
    words = words_of(frame.column(column.name))
    place = _COMPUTE.index_in(words, value_set=pa.array(column.categories, pa.string()))
    found: Array = np.asarray(place.to_numpy(zero_copy_only=False), dtype=np.float64)
    return found


def unseen(frame: Frame, column: Column) -> dict[str, list[int]]:
    """Return values that are no category, and the rows that have them."""
    words = words_of(frame.column(column.name))
    rows = np.flatnonzero(np.asarray(words.is_valid()) & np.isnan(codes(frame, column)))
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(str(words[int(row)]), []).append(int(row))
    return found


def rounded(frame: Frame, name: str) -> bool:
    """Return whether a column holds whole numbers beyond those that float64 has all of."""
    column = frame.column(name)
    if _typed(frame, name) == "text":
        column = pd.Series(numerals.parse(numerals.texts(column), frame.ways))
    if pd.api.types.is_integer_dtype(column):
        return bool((column.abs() > EXACT).any() or (column == np.iinfo(np.int64).min).any())
    if column.dtype.kind == "f":
        large = column[column.abs() > EXACT]
        return len(large) > 0 and bool((column.dropna() % 1 == 0).all())
    return False


def _typed(frame: Frame, name: str) -> str:
    """Return what one file's column is by its type, or by all of its text: a kind, "text", or "none"."""
    column = frame.column(name)
    if not bool(column.notna().any()):
        return "none"
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    if column.dtype.kind in "Mm" or isinstance(column.dtype, pd.DatetimeTZDtype):
        return "duration" if column.dtype.kind == "m" else "date"
    if pd.api.types.is_numeric_dtype(column):
        return "number"
    words = numerals.texts(column)
    known = words.drop_null()
    if bool(_COMPUTE.all(_COMPUTE.match_substring_regex(known, _BOOLEANS)).as_py()):
        return "boolean"
    if dates.all_dates(words):
        return "date"
    return "duration" if dates.all_durations(words) else "text"


def _only_lacks(frames: Sequence[Frame], name: str) -> bool:
    """Return whether all words of a column that has some numbers are those that stand for a missing value."""
    some = False
    for frame in frames:
        words = numerals.texts(frame.column(name))
        fits = numerals.matches(words, frame.ways)
        rest = words.filter(pa.array(~fits)).drop_null().unique().to_pylist()
        some = some or bool(fits.any())
        if any(word.lower() not in _STANDS_FOR_MISSING for word in rest):
            return False
    return some


def _booleans(words: pa.Array) -> Array:
    lower = _COMPUTE.utf8_lower(words)
    place = _COMPUTE.index_in(lower, value_set=pa.array(["false", "true"]))
    found: Array = np.asarray(place.to_numpy(zero_copy_only=False), dtype=np.float64)
    return found


def _one_hot(frame: Frame, column: Column) -> pd.DataFrame:
    place = codes(frame, column)
    missing = frame.column(column.name).isna().to_numpy()
    hot = (place[:, None] == np.arange(len(column.categories))).astype(np.float64)
    hot[missing] = np.nan
    return pd.DataFrame(hot, columns=column.inputs())


def _refuse_odd(frame: Frame, name: str, option: str, kind: Kind, found: Array, words: pa.Array) -> None:
    odd = np.flatnonzero(np.isnan(found) & np.asarray(words.is_valid()))
    if not len(odd):
        return
    value = str(words[int(odd[0])])
    more = f", nor in {len(odd) - 1:,} more rows" if len(odd) > 1 else ""
    raise FileFault(
        f"{frame.path}: column {name!r}, {frame.place(int(odd[0]))}: {value!r} is no {kind}{more}; "
        f"{_cure(frame, name, value, option, bool((~np.isnan(found)).any()))}"
    )


def _cure(frame: Frame, name: str, value: str, option: str, some: bool) -> str:
    word = pa.array([value])
    for way, said in (
        (numerals.Numerals(","), "if commas are decimal points, add --decimal ,"),
        (numerals.Numerals("."), "if points are decimal points, add --decimal ."),
        (numerals.Numerals(".", ","), "if commas part thousands, add --thousands ,"),
        (numerals.Numerals(",", "."), "if points part thousands, add --thousands ."),
    ):
        if way != frame.ways and numerals.matches(word, way)[0]:
            return said
    if not some:
        return f"choose another column for {option}"
    if len(value.split()) > 1 or "," in value:
        return "mend it, or leave the line out"
    return f"mend it, leave the line out, or, if it stands for a missing value, add --missing {value}"
