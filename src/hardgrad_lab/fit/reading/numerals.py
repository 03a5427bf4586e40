"""How numbers are written: which sign is the decimal point, which parts thousands. Found from all values, or asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hardgrad_lab.fit.rows import Array

SIGNS = {".": "points", ",": "commas", " ": "blanks", "'": "apostrophes"}
_COMPUTE: Any = pc  # its functions are made while it is imported: no checker sees them


@dataclass(frozen=True)
class Numerals:
    """How numbers are written.

    Args:
        decimal: the sign before the fraction.
        thousands: the sign between groups of three digits, or None.
    """

    decimal: str = "."
    thousands: str | None = None

    @property
    def pattern(self) -> str:
        """Return the regular expression of a whole number or a fraction so written; no 1,23 and no 0,123 in groups."""
        point, digits = re.escape(self.decimal), r"[0-9]+"
        if self.thousands is not None:
            digits = rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:{re.escape(self.thousands)}[0-9]{{3}})+)"
        fraction = rf"(?:{digits}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
        return rf"^[+-]?(?:{fraction}|(?i:inf|infinity))$"

    def described(self) -> str:
        """Return what is not plain about it, in words."""
        said = [] if self.decimal == "." else [f"{SIGNS[self.decimal]} as decimal points"]
        return " and ".join([*said, *([f"{SIGNS[self.thousands]} between thousands"] if self.thousands else [])])


PLAIN, GERMAN = Numerals(), Numerals(",", ".")
KNOWN = (
    PLAIN,
    *(Numerals(".", sign) for sign in (",", " ", "'")),
    Numerals(","),
    *(Numerals(",", sign) for sign in (".", " ", "'")),
)


class Ambiguous(Exception):
    """Values that can be read in two ways.

    Args:
        column: that holds them.
        value: one of them.
        other: a column that contradicts; None where the values alone do not say.
        other_value: one of its values.
    """

    def __init__(self, column: str, value: str, other: str | None = None, other_value: str = "") -> None:
        super().__init__(column)
        self.column, self.value, self.other, self.other_value = column, value, other, other_value


def texts(column: pd.Series) -> pa.Array:
    """Return a column as trimmed text, null where there is no value; blanks, minuses and apostrophes of one kind."""
    known = column.where(column.notna(), None)
    plain: Any = pa.array([None if v is None else str(v) for v in known] if column.dtype == object else known)
    if isinstance(plain, pa.ChunkedArray):
        plain = plain.combine_chunks()
    plain = _COMPUTE.utf8_trim_whitespace(_COMPUTE.cast(plain, pa.string()))
    if _COMPUTE.all(_COMPUTE.string_is_ascii(plain)).as_py() is not False:
        return plain
    for signs, one in (("[\u00a0\u202f\u2009]", " "), ("\u2212", "-"), ("\u2019", "'")):
        plain = _COMPUTE.replace_substring_regex(plain, signs, one)
    return plain


def allowed(decimal: str | None, thousands: str | None) -> list[Numerals]:
    """Return the ways of writing that a user's options leave."""
    if thousands is not None and decimal is None and thousands in ".,":
        decimal = "," if thousands == "." else "."
    fits = [way for way in KNOWN if decimal in (None, way.decimal)]
    return [way for way in fits if thousands in (None, way.thousands)]


def find(columns: Mapping[str, pa.Array], ways: Sequence[Numerals], *, points: bool = True) -> tuple[Numerals, bool]:
    """Return how the numbers of a file are written, and whether any of them could not be written in another way.

    Args:
        columns: of text, by name.
        ways: that may be.
        points: whether 1.234 alone is taken as a fraction; else it is asked for.

    Raises:
        Ambiguous: if all that is there can be read in two ways, or columns contradict each other.
    """
    left, seen = list(ways), {}
    for name, values in columns.items():
        fitting = _ways_of(values, ways)
        if fitting is None:
            continue
        seen[name] = fitting
        both = [way for way in left if way in fitting]
        if not both:
            other, theirs = next((n, s) for n, s in seen.items() if not set(s) & set(fitting) or n != name)
            raise Ambiguous(name, telling(values, theirs), other, telling(columns[other], fitting))
        left = both
    if not any(len(fitting) < len(ways) for fitting in seen.values()):
        return left[0], False
    if PLAIN in left and (points or GERMAN not in left):
        return PLAIN, True
    if len({way.decimal for way in left}) > 1:
        telltale = Numerals(",") if PLAIN in left else PLAIN
        name = next(name for name, fitting in seen.items() if telltale not in fitting)
        raise Ambiguous(name, telling(columns[name], [telltale]))
    return min(left, key=lambda way: way.thousands is not None), True


def matches(values: pa.Array, way: Numerals) -> NDArray[np.bool_]:
    """Return which values are numbers so written; a missing one is none."""
    found = _COMPUTE.match_substring_regex(values, way.pattern)
    return np.asarray(_COMPUTE.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)


def parse(values: pa.Array, way: Numerals) -> Array:
    """Return text as float64, correctly rounded; NaN for what is no number."""
    fits = matches(values, way)
    good: Any = values.filter(pa.array(fits))
    if way.thousands is not None:
        good = _COMPUTE.replace_substring(good, way.thousands, "")
    if way.decimal != ".":
        good = _COMPUTE.replace_substring(good, way.decimal, ".")
    good = _COMPUTE.replace_substring_regex(good, r"^\+", "")
    found = np.full(len(values), np.nan)
    found[fits] = _COMPUTE.cast(good, pa.float64()).to_numpy(zero_copy_only=False)
    return found


def telling(values: pa.Array, ways: Iterable[Numerals]) -> str:
    """Return the first value that is no number in one of these ways."""
    masks = [matches(values, way) for way in ways]
    known = np.asarray(values.is_valid())
    odd = np.flatnonzero(known & ~np.all(masks, axis=0)) if masks else np.flatnonzero(known)
    return str(values[int(odd[0]) if len(odd) else int(np.flatnonzero(known)[0])])


def _ways_of(values: pa.Array, ways: Sequence[Numerals]) -> list[Numerals] | None:
    """Return the ways in which most of a column's values are numbers; None for a column of words."""
    known_signs = {sign for sign in SIGNS if _COMPUTE.any(_COMPUTE.match_substring(values, sign)).as_py()}
    found: dict[tuple[str | None, str | None], NDArray[np.bool_]] = {}
    counts: dict[Numerals, NDArray[np.bool_]] = {}
    for way in ways:
        # Ways that differ in signs that no value has are one, and a regular expression takes its time.
        alike = (
            way.decimal if way.decimal in known_signs else None,
            way.thousands if way.thousands in known_signs else None,
        )
        if alike not in found:
            found[alike] = matches(values, way)
        counts[way] = found[alike]
    either = np.any(list(counts.values()), axis=0)
    known = len(values) - values.null_count
    if not known or 2 * int(either.sum()) < known:
        return None
    most = max(int(mask.sum()) for mask in counts.values())
    return [way for way, mask in counts.items() if int(mask.sum()) == most]
