"""What is raised when a program fails: one class, one form of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BoxError(RuntimeError):
    """A program in a ``BlackBox``, or a solver, failed: it raised, died, took too long, or returned what is no array.

    Its ``__cause__`` is the program's own error; of one in a worker, the traceback as text.

    Attributes:
        row: which row of the batch it was, from 0; None if it was no single one.
        results: the rows that were done by then, as arrays by their numbers, so that no work is lost.
    """

    row: int | None = None
    results: Mapping[int, Any] = {}

    @classmethod
    def of(cls, label: str, row: int | None, what: str) -> BoxError:
        """Return the error of one row, or of the batch as a whole."""
        error = cls(f"{label}: {'the batch' if row is None else f'row {row}'}: {what}")
        error.row = row
        return error
