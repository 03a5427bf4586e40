"""What a model folder says of the tables that it was fitted to, so that others are read as those were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardgrad_lab.fit.reading.columns import Column
from hardgrad_lab.fit.reading.fault import FileFault


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to read a table for a fitted model.

    Args:
        columns: that its inputs are made of, the key's among them.
        target: what it predicts; None where the folder does not say what it holds.
        key: the column that decides.
        inputs: names of the numbers that the columns become, in the model's order.
        missing: words that stand for a missing value.
    """

    columns: tuple[Column, ...]
    target: Column | None
    key: str
    inputs: tuple[str, ...]
    missing: tuple[str, ...] = ()


def settings_of(described: Mapping[str, Any]) -> Settings:
    """Return the settings in a folder's description; an old one, without them, knows columns of numbers alone.

    Raises:
        FileFault: if they are garbled.
    """
    names, said = described.get("columns"), described.get("table")
    try:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"columns must be names, got {str(names)[:80]!r}")
        key, inputs = names[described["key"]], tuple(names)
        if said is None:
            said = {"columns": [Column(name=name).to_json() for name in names], "missing": [], "target": None}
            if isinstance(described.get("target"), str):
                said["target"] = Column(name=described["target"]).to_json()
        target = None if said["target"] is None else Column.from_json(said["target"])
        columns = tuple(Column.from_json(column) for column in said["columns"])
        missing = tuple(str(word) for word in said["missing"])
        made = {name for column in columns for name in (*column.inputs(), column.name)}
        if key not in made or not made.issuperset(inputs):
            raise ValueError(f"its inputs must be made of its columns, got {', '.join(set(inputs) - made) or key!r}")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FileFault(f"model.json garbles what its columns hold ({error}); fit the model again") from None
    return Settings(columns=columns, target=target, key=key, inputs=inputs, missing=missing)
