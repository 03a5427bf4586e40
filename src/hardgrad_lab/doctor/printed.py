"""What the user's function prints while it is called thousands of times: counted, and the first line kept."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_LONGEST = 120  # characters of the first line that are shown


class Printed(io.TextIOBase):
    """A stream that keeps its first line and counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0
        self.first = ""

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Count lines."""
        if not self.lines:
            self.first = (self.first + text.partition("\n")[0])[:_LONGEST]
        self.lines += text.count("\n")
        return len(text)

    def __str__(self) -> str:
        noun = "line" if self.lines == 1 else "lines"
        return f"the function printed {self.lines:,} {noun}, which are left out here; the first: {self.first}"


@contextmanager
def counted() -> Iterator[Printed]:
    """Count what is printed meanwhile, and show none of it."""
    printed = Printed()
    with redirect_stdout(printed):
        yield printed
