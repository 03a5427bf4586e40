"""How wide a text may be: as the terminal, where there is one."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

_NARROWEST = 20  # columns; below that a word a line would be left


def terminal() -> int | None:
    """Return the columns of the terminal that prints; None in a file, a pipe or a notebook, where nothing is cut."""
    try:
        shows = sys.stdout.isatty()
    except (AttributeError, ValueError):  # no standard output at all, or one that was closed
        return None
    return max(shutil.get_terminal_size().columns, _NARROWEST) if shows else None


def moves() -> bool:
    """Return whether a line can be written over: on a terminal, and in a notebook."""
    if type(sys.stdout).__module__.startswith("ipykernel"):
        return True
    return terminal() is not None and os.environ.get("TERM") != "dumb"


def at_most(columns: int) -> int:
    """Return so many columns, or those of a terminal that has fewer."""
    return min(columns, terminal() or columns)


def wrapped(text: str, first: str = "", further: str = "  ", columns: int = 120) -> str:
    """Return a paragraph in lines of at most so many columns.

    Args:
        text: the paragraph, in one line.
        first: what the first line begins with.
        further: what the others begin with.
        columns: of a line; a narrower terminal has fewer.
    """
    width = at_most(columns)
    if len(further) > width // 2:  # a narrow terminal has no room for what is set in
        further = "  "
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
