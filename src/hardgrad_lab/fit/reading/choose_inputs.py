"""Which columns are inputs where nobody names them, and what is said of those that are left out."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.fit.reading.asked import Columns, Reading
from hardgrad_lab.fit.reading.columns import MOST_CATEGORIES, ROWS_EACH, Column, categories_of, kind_of
from hardgrad_lab.fit.reading.dates import maybe_dates
from hardgrad_lab.fit.reading.fault import FileFault, listed
from hardgrad_lab.fit.reading.frame import Frame


def choose_inputs(frames: Sequence[Frame], columns: Columns, how: Reading, notes: list[str]) -> list[Column]:
    """Return the inputs: those named, or all that can be; ``notes`` gets a line for each reason to leave some out."""
    if columns.inputs is not None:
        return [_named_input(frames, name, how) for name in columns.inputs]
    first = frames[0]
    shared = [name for name in first.columns.columns if all(name in frame.columns for frame in frames)]
    for frame in frames:
        for name in frame.columns.columns:
            if name not in shared and name != columns.target:
                lacks = next(other.path for other in frames if name not in other.columns)
                notes.append(f"{frame.path}: left out {name}, which {lacks} does not have")
        if frame.unread:
            said = ", ".join(f"{name} ({kind})" for name, kind in frame.unread.items())
            notes.append(f"{frame.path}: left out, as no numbers or words: {said}")
    kept, reasons = [], _Reasons()
    for name in shared:
        if name == columns.target:
            continue
        column = decided(frames, name, how)
        if reason := _unfit(frames, name, column, how, is_key=name == columns.key):
            reasons.add(reason, name)
        elif column is not None:
            kept.append(column)
    notes += reasons.lines()
    return kept


class _Reasons:
    """Columns left out, gathered by why."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: tuple[str, str], name: str) -> None:
        self._names.setdefault(reason[0], []).append(f"{name} ({reason[1]})" if reason[1] else name)

    def lines(self) -> list[str]:
        return [f"left out, as {why}: {listed(names, 20)}" for why, names in self._names.items()]


def _unfit(
    frames: Sequence[Frame], name: str, column: Column | None, how: Reading, *, is_key: bool
) -> tuple[str, str] | None:
    """Return why a column that nobody named is no input, and what it holds; None if it is one."""
    if column is None:
        return "they have no value in any row", ""
    asked = is_key or name in how.categories
    if column.kind == "category" and not asked and maybe_dates([frame.column(name) for frame in frames]):
        return "they may hold dates in an order that cannot be known (only 2024-12-31 can be read)", column.categories[
            0
        ]
    if column.kind == "category" and not asked and too_many(frames, column):
        count = len(column.categories)
        return "they hold text with many different values (--categories takes it as categories)", f"{count:,}"
    if is_key:
        return None
    values = {str(value) for frame in frames for value in frame.column(name).dropna().unique()[:2]}
    if len(values) != 1:
        return None
    gaps = any(bool(frame.column(name).isna().any()) for frame in frames)
    return f"they have one value in all rows{' that have any' if gaps else ''}", str(min(values))


def too_many(frames: Sequence[Frame], column: Column) -> bool:
    """Return whether text has more different values than are taken as categories without being asked for."""
    rows = sum(int(frame.column(column.name).count()) for frame in frames)
    return len(column.categories) > min(MOST_CATEGORIES, max(2, rows // ROWS_EACH))


def _named_input(frames: Sequence[Frame], name: str, how: Reading) -> Column:
    column = decided(frames, name, how)
    if column is None:
        raise FileFault(f"{frames[0].path}: column {name!r} (--inputs) has no value in any row; take it out")
    if column.kind == "category" and name not in how.categories and too_many(frames, column):
        raise FileFault(
            f"{frames[0].path}: column {name!r} (--inputs) holds {len(column.categories):,} different words, such as "
            f"{column.categories[0]!r}; add --categories {name} to have an input for each, or take it out"
        )
    return column


def decided(frames: Sequence[Frame], name: str, how: Reading) -> Column | None:
    """Return a column with its kind; None where no file has a value of it."""
    kind = kind_of(frames, name)
    if kind is not None and name in how.categories:
        kind = "category"
    if kind is None:
        return None
    found = categories_of([frame.column(name) for frame in frames]) if kind == "category" else ()
    return Column(name=name, kind=kind, categories=found)
