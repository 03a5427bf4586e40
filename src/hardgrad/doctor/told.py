"""How far an examination is, before one's eyes: a line that is written over, or a line a turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hardgrad import _check
from hardgrad._shown.width import moves, terminal
from hardgrad.doctor.pace import Progress, Tell


@contextmanager
def told(progress: Tell | bool | None) -> Iterator[Tell | None]:
    """Yield what to call as an examination goes on.

    Args:
        progress: what the user asked for: a function, True for a line of ours, False or None for nothing.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        line = _Line()
        try:
            yield line
        finally:
            line.clear()
    else:
        _check.function(
            "diagnose", "progress", progress, "of a Progress", "print will do, or True for a line that moves, or None"
        )
        yield progress


class _Line:
    """A line on standard output, which a terminal and a notebook write over; in a file or a pipe one for each turn."""

    def __init__(self) -> None:
        self._moves, self._long, self._name = moves(), 0, ""

    def __call__(self, now: Progress) -> None:
        if self._moves:
            self._write(str(now)[: (terminal() or 100) - 1])
        elif now.name != self._name:
            print(now, flush=True)
        self._name = now.name

    def clear(self) -> None:
        """Leave the line empty, for what is printed next."""
        if self._long:
            self._write("")
            print("\r", end="", flush=True)

    def _write(self, text: str) -> None:
        print(f"\r{text:<{self._long}}", end="", flush=True)
        self._long = len(text)
