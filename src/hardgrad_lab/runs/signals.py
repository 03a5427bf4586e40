"""SIGINT and SIGTERM as a wish that the loop grants at the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hardgrad_lab.runs.spread import world

# Windows never delivers SIGTERM; its way to ask a process to end, besides Ctrl-C, is Ctrl-Break.
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class Interrupted(Exception):
    """A signal stopped the training; its state is safe.

    Args:
        number: the signal.
        unsaved: why its last steps could not be saved; empty if they were.
    """

    def __init__(self, number: int, unsaved: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.unsaved = number, unsaved


_collecting: list[list[int]] = []  # the signals of the scope that is open


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the signals that ask to stop instead of dying of them; a second one acts as it always did.

    A scope within another collects with it. Under ``torchrun`` a second signal is collected like the first: a Ctrl-C
    reaches each process twice, from the terminal and from ``torchrun``.
    """
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived  # only the main thread may handle signals
        return
    if _collecting:
        yield _collecting[0]
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in STOPS}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        arrived.append(number)
        if world() == 1:
            signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    _collecting.append(arrived)
    try:
        yield arrived
    finally:
        _collecting.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
