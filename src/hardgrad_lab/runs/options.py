"""Options of a configuration, and what is said of one that is not allowed. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

OWN_RUNS = Path("runs")  # never results/, which holds the project's evidence that pages and tests are held to


class OptionError(ValueError):
    """A value of a configuration that is not allowed.

    Args:
        name: the field.
        rule: what is allowed, to stand after "must be".
        got: the value given.
    """

    def __init__(self, name: str, rule: str, got: object) -> None:
        super().__init__(f"{name} must be {rule}, got {got!r}")
        self.name, self.rule, self.got = name, rule, got


def require(holds: bool, name: str, rule: str, got: object) -> None:
    """Raise an ``OptionError`` unless ``holds``."""
    if not holds:
        raise OptionError(name, rule, got)


def chosen(name: str, asked: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    """Return the names asked for, or all known where none is, or raise an ``OptionError``."""
    asked = list(asked)
    for each in asked:
        require(each in known, name, f"one of {', '.join(known)}", each)
    return asked or list(known)


def is_tuple(hint: Any) -> bool:
    """Return whether a type is that of several values, or may be."""
    return hint is tuple or get_origin(hint) is tuple or any(is_tuple(each) for each in get_args(hint))
