"""What a user says of tables: which columns play which part, and how to take what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hardgrad_lab.fit.reading.columns import Column
from hardgrad_lab.fit.reading.dialect import Dialect


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns play which part.

    Args:
        target: what to predict; None where only inputs are wanted.
        key: what decides; None takes the only input there is.
        inputs: what the branches see, or None for every column of numbers but the target.
    """

    target: str | None
    key: str | None
    inputs: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read files, and how to take what they hold.

    Args:
        dialect: of files of text.
        categories: columns to take as categories, whatever they hold.
        classify: take the target's values as classes.
        key_only: the key decides, but is no input.
        known: the columns of a fitted model; None where they are to be decided.
        inputs: of that model, by name, in order.
    """

    dialect: Dialect = field(default_factory=Dialect)
    categories: tuple[str, ...] = ()
    classify: bool = False
    key_only: bool = False
    known: tuple[Column, ...] | None = None
    inputs: tuple[str, ...] = ()
