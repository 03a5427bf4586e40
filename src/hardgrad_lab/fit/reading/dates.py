"""Dates and durations as numbers: days, so that a table of them can be fitted to and read again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hardgrad_lab.fit.rows import Array

_COMPUTE: Any = pc
EPOCH = "1970-01-01"
DAY = pd.Timedelta(days=1)
# Year, month, day: every other order of the three can be read in two ways.
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?"
_DATE = rf"^[0-9]{{4}}[-/][0-9]{{2}}[-/][0-9]{{2}}([T ]{_CLOCK})?$"
_OTHER_ORDER = rf"[0-9]{{1,2}}[-/.][0-9]{{1,2}}[-/.][0-9]{{2,4}}([T ]{_CLOCK})?"
_DURATION = r"^-?[0-9]+ days?( [+-]?[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?)?$|^P[0-9DTHMS.]+$"


def all_dates(words: pa.Array) -> bool:
    """Return whether all text is dates, year first, of days that there are."""
    return _all(words, _DATE) and not np.isnan(days_of_text(words.drop_null())).any()


def maybe_dates(columns: Sequence[pd.Series]) -> bool:
    """Return whether text is dates with day or month first, which cannot be told apart."""
    words = [str(word) for column in columns for word in column.dropna().unique()]
    return bool(words) and all(re.fullmatch(_OTHER_ORDER, word.strip()) for word in words)


def all_durations(words: pa.Array) -> bool:
    """Return whether all text is durations as pandas or ISO 8601 write them."""
    return _all(words, _DURATION) and not np.isnan(durations_of_text(words.drop_null())).any()


def days_of_text(words: pa.Array) -> Array:
    """Return days since ``EPOCH``, UTC where a date names no zone; NaN for what is no date."""
    plain = _COMPUTE.replace_substring(words, "/", "-")
    found = pd.to_datetime(pd.Series(plain.to_pylist(), dtype=object), errors="coerce", utc=True, format="ISO8601")
    return days(found)


def durations_of_text(words: pa.Array) -> Array:
    """Return days; NaN for what is no duration."""
    return days(pd.to_timedelta(pd.Series(words.to_pylist(), dtype=object), errors="coerce"))


def days(column: pd.Series) -> Array:
    """Return dates as days since ``EPOCH``, durations as days; NaN where there is none."""
    if pd.api.types.is_timedelta64_dtype(column):
        spans: Any = column
    else:
        zone = getattr(column.dt, "tz", None)
        spans = column - pd.Timestamp(EPOCH, tz=zone if zone is None else "UTC")
    found: Array = (spans / DAY).to_numpy(dtype=np.float64, na_value=np.nan)
    return found


def _all(words: pa.Array, pattern: str) -> bool:
    known = words.drop_null()
    if not len(known):
        return False
    return bool(_COMPUTE.all(_COMPUTE.match_substring_regex(known, pattern)).as_py())
