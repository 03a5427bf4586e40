"""Arguments that are no numbers, named before they get anywhere."""

from __future__ import annotations

import operator
from typing import Any


def number(owner: str, name: str, value: Any, cure: str) -> float:
    """Return a number as a float, or raise a ValueError that names the argument."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{owner}: {name} must be a number, got {value!r}; {cure}") from None


def whole(owner: str, name: str, value: Any, cure: str) -> int:
    """Return a whole number as an int, or raise a ValueError that names the argument."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except (TypeError, RuntimeError):
        raise ValueError(f"{owner}: {name} must be a whole number, got {value!r}; {cure}") from None
