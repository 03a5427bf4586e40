"""The user's function while it is examined: what it raises is said with where, and at which row of the batch."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from hardgrad.doctor.copies import Candidate
from hardgrad.doctor.scripted import NotScriptedError

_SHOWN = 6  # numbers of a row in a sentence
_PATIENCE = 5.0  # seconds to look for the row


class FunctionError(ValueError, RuntimeError):
    """What the user's function raised, in one sentence; the error itself is the cause.

    A RuntimeError too: so is torch's own word on a tensor that requires a gradient, which estimators look for.
    """


class Guarded:
    """The user's function, whose exceptions name the place and the row.

    Args:
        function: the user's.
        rows: of the batch, to tell a row of it among stacked copies; None where they are not in the first dimension.
        name: of the argument.
        who: whose argument it is.
    """

    def __init__(
        self, function: Candidate, rows: int | None = None, name: str = "function", who: str = "diagnose"
    ) -> None:
        self._function, self._rows, self._name, self._who = function, rows, name, who
        self.where = ""  # such as "while the truth was sought"

    def __call__(self, x: Tensor) -> Any:
        """Return what the function returns.

        Raises:
            FunctionError: for whatever it raises, an exit included.
        """
        try:
            return self._function(x)
        except NotScriptedError:
            raise
        except (Exception, SystemExit) as error:  # of the user's code, hence of any kind
            raise FunctionError(self._sentence(x, error)) from error

    def _sentence(self, x: Tensor, error: BaseException) -> str:
        where, row = f" {self.where}" if self.where else "", self._first(x)
        size = "" if row or not self._rows or len(x) == self._rows else " (it must take any number of rows)"
        return (
            f"{self._who}: {self._name} raises{where}, for x of shape {tuple(x.shape)}{size}{row}: "
            f"{type(error).__name__}: {error}"
        )

    def _first(self, x: Tensor) -> str:
        """Which row is to blame, found by halves; empty where no row alone makes it raise."""
        if x.requires_grad or x.ndim < 1 or len(x) < 2:
            return ""
        first, last, start = 0, len(x), time.perf_counter()
        while last - first > 1:
            if time.perf_counter() - start > _PATIENCE:  # a server that is gone, say, takes its time to raise
                return ""
            middle = (first + last) // 2
            if self._raises(x[first:middle]):
                last = middle
            elif self._raises(x[middle:last]):
                first = middle
            else:
                return ""
        if not self._rows or len(x) % self._rows:
            return f", at place {first} of its first dimension, where it is {shown(x[first])}"
        noisy = "" if len(x) == self._rows else f" of the batch (copy {first // self._rows} of it)"
        return f", at row {first % self._rows}{noisy}, where x = {shown(x[first])}"

    def _raises(self, rows: Tensor) -> bool:
        try:
            with torch.no_grad():
                self._function(rows.clone())
        except (Exception, SystemExit):
            return True
        return False


def shown(row: Tensor) -> str:
    """Return the numbers of a row for a sentence, the first few of many."""
    numbers = [f"{number:.4g}" for number in row.detach().flatten()[:_SHOWN].tolist()]
    return f"[{', '.join(numbers)}{', ...' if row.numel() > _SHOWN else ''}]"
