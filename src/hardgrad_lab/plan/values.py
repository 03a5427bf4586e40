"""Values of a plan file held against the types of a configuration: mistakes are found before anything starts."""

from __future__ import annotations

import sys
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hardgrad_lab.runs.options import is_tuple, require

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def typed(name: str, hint: Any, value: Any) -> Any:
    """Return a value as a configuration has it: 1 is 1.0 where a number need not be whole.

    Args:
        name: of the option.
        hint: its type.
        value: as TOML has it.

    Raises:
        OptionError: if the value is of another type.
    """
    if get_origin(hint) in (Union, UnionType):
        hints = [each for each in get_args(hint) if each is not type(None)]
        return typed(name, hints[0], value)
    if get_origin(hint) is Literal:
        known = get_args(hint)
        require(value in known, name, f"one of {', '.join(map(str, known))}", value)
        return value
    if is_tuple(hint):
        require(isinstance(value, list), name, "a list", value)
        return tuple(typed(name, get_args(hint)[0], each) for each in value)
    require(hint in _WORDS, name, "left to the command line: a plan file cannot say it", value)
    right = isinstance(value, int | float if hint is float else hint) and (hint is bool or not isinstance(value, bool))
    require(right, name, _WORDS[hint], value)
    if hint is not float:
        return value
    require(abs(value) <= sys.float_info.max, name, "a finite number", value)
    return float(value)


def choices(name: str, hint: Any, value: Any) -> list[Any]:
    """Return the values that an option takes in turn: a list is several, but of an option that is a list itself."""
    listed = isinstance(value, list) and (not is_tuple(hint) or all(isinstance(each, list) for each in value))
    require(not listed or value != [], name, "one value or more", value)
    several = value if listed else [value]
    return [typed(name, hint, each) for each in several]
