"""The one error of files: it names the file, the column and line where there are any, the value got, and the cure."""

from __future__ import annotations


class FileFault(ValueError):
    """A file that cannot serve; the message names it, the fault and what to do."""


class NoHeader(FileFault):
    """A file of text whose first line is a list of numbers, not of names."""


def line_of(error: BaseException) -> str:
    """Return the first line of what another library says, without its own preface."""
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("Error tokenizing data. C error: ") if lines else type(error).__name__


def counted(n: int, word: str) -> str:
    """Return a number with its noun, such as ``1 column`` or ``12,000 columns``."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def listed(words: list[str], most: int = 5) -> str:
    """Return words with commas between, cut where they are many."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
