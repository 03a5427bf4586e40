"""Which columns play which part in a fit, decided over all files; whatever is left out or changed is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardgrad_lab.fit.reading.asked import Columns, Reading
from hardgrad_lab.fit.reading.choose_inputs import choose_inputs, decided, too_many
from hardgrad_lab.fit.reading.columns import ROWS_EACH, Column, categories_of, numbers, rounded
from hardgrad_lab.fit.reading.dates import EPOCH
from hardgrad_lab.fit.reading.fault import FileFault, listed
from hardgrad_lab.fit.reading.frame import Frame
from hardgrad_lab.fit.reading.names import MOST_INPUTS

MOST_CLASSES = 50  # of a target of words
FEW_VALUES = 10  # different whole numbers of a target that may be meant as classes


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The columns decided.

    Args:
        target: what to predict, or None.
        key: what decides; ranges of a number, or a branch for each category.
        inputs: what the branches see.
    """

    target: Column | None
    key: Column
    inputs: tuple[Column, ...]


def choose(frames: Sequence[Frame], columns: Columns, how: Reading) -> tuple[Parts, list[str]]:
    """Decide target, key and inputs.

    Args:
        frames: one for each file.
        columns: what the user named.
        how: what the user said of them.

    Returns:
        The parts, and lines on what was left out or changed.

    Raises:
        FileFault: for a column that is missing or cannot play its part.
    """
    check_there(frames, columns, how.categories)
    notes: list[str] = []
    target = _target(frames, columns, how, notes)
    inputs = choose_inputs(frames, columns, how, notes)
    if columns.target is not None and any(column.name == columns.target for column in inputs):
        raise FileFault(f"--inputs must not hold the target, got {columns.target!r} in both; take it out of one")
    key = _key(frames, columns, how, inputs)
    notes += _said(frames, [key, *inputs], target)
    if key.kind == "category" and how.key_only:
        # Of a key of numbers the estimator keeps the one column away; of categories there would be an input for each.
        inputs = [column for column in inputs if column != key]
    return Parts(target=target, key=key, inputs=tuple(inputs)), notes


def check_there(frames: Sequence[Frame], columns: Columns, categories: Sequence[str] = ()) -> None:
    """Raise a FileFault for a named column that some file lacks or that holds what no table of numbers can."""
    options = [("--target", columns.target), ("--key", columns.key)]
    options += [("--inputs", name) for name in columns.inputs or ()]
    options += [("--categories", name) for name in categories]
    for frame in frames:
        for option, name in options:
            if name is not None and name not in (*frame.columns.columns, *frame.unread):
                there = listed(list(frame.names), 20)
                raise FileFault(f"{frame.path} has no column {name!r} ({option}); it has {there}")
            if name in frame.unread:
                raise FileFault(f"{frame.path}: column {name!r} ({option}) holds {frame.unread[name]}; choose another")


def _target(frames: Sequence[Frame], columns: Columns, how: Reading, notes: list[str]) -> Column | None:
    name = columns.target
    if name is None:
        return None
    column = decided(frames, name, how)
    if column is None:
        raise FileFault(f"{frames[0].path}: column {name!r} (--target) has no value; choose another")
    if how.classify or column.kind == "boolean":
        parts = [frame.column(name) for frame in frames]
        column = Column(name=name, kind="category", categories=categories_of(parts))
    if column.kind == "category":
        _check_classes(frames, column)
        notes.append(f"{name} is taken as {len(column.categories)} classes: {listed(list(column.categories), 8)}")
    elif column.kind == "number":
        found = np.unique(np.concatenate([numbers(frame, name, "--target") for frame in frames]))
        found = found[np.isfinite(found)]
        rows = sum(len(frame.columns) for frame in frames)
        if 1 < len(found) <= min(FEW_VALUES, rows // ROWS_EACH) and (found % 1 == 0).all():
            notes.append(f"{name} has {len(found)} different values, all whole, and is taken as a number; --classify "
                         "takes them as classes")  # fmt: skip
    return column


def _check_classes(frames: Sequence[Frame], column: Column) -> None:
    rows = sum(len(frame.columns) for frame in frames)
    count = len(column.categories)
    if count > MOST_CLASSES or 2 * count > rows:
        raise FileFault(
            f"{frames[0].path}: column {column.name!r} holds {count:,} different words in {rows:,} rows "
            f"({listed(list(column.categories), 3)}), which are too many for "
            "classes; choose another column for --target"
        )
    if count < 2:
        raise FileFault(
            f"{frames[0].path}: column {column.name!r} is {column.categories[0]!r} in every row: there is nothing to "
            "tell apart; choose another column for --target"
        )


def _key(frames: Sequence[Frame], columns: Columns, how: Reading, inputs: Sequence[Column]) -> Column:
    key = columns.key
    if key is None:
        if len(inputs) != 1:
            there = listed([column.name for column in inputs], 20) or "none"
            raise FileFault(f"--key must name the column that decides; {frames[0].path} has {there}")
        return inputs[0]
    if key == columns.target:
        raise FileFault(f"--key must not be the target, got {key!r} for both; the target is not known when predicting")
    column = next((column for column in inputs if column.name == key), None) or decided(frames, key, how)
    if column is None:
        raise FileFault(f"{frames[0].path}: column {key!r} (--key) has no value in any row; choose another")
    if column.kind == "category" and key not in how.categories and too_many(frames, column):
        raise FileFault(
            f"{frames[0].path}: column {key!r} (--key) holds {len(column.categories):,} different words, such as "
            f"{column.categories[0]!r}; a branch for each is too many: choose another, or add --categories {key}"
        )
    return column


def _said(frames: Sequence[Frame], inputs: Sequence[Column], target: Column | None) -> list[str]:
    """Return lines on columns that are not taken as they are."""
    kinds = {
        "boolean": "true and false as 1 and 0",
        "date": f"dates as days since {EPOCH}",
        "duration": "durations as days",
    }
    columns = {column.name: column for column in inputs}
    count = sum(len(column.inputs()) for column in columns.values())
    if target is not None and target.kind != "category":
        columns[target.name] = target
    notes = []
    for kind, said in kinds.items():
        if names := [name for name, column in columns.items() if column.kind == kind]:
            notes.append(f"{said}: {listed(names, 20)}")
    for name, column in columns.items():
        if column.kind == "category":
            some = listed(list(column.categories), 8)
            role = "a branch for each" if column is inputs[0] else "an input for each"
            notes.append(f"{name} has {len(column.categories)} categories, {role}: {some}")
    if names := [name for name in columns if any(rounded(frame, name) for frame in frames)]:
        notes.append(f"whole numbers beyond 2^53, whose last digits are lost: {listed(names, 20)}")
    if count > MOST_INPUTS:
        raise FileFault(f"{frames[0].path}: the columns make {count:,} inputs, and a fit takes {MOST_INPUTS:,} at most")
    return notes
