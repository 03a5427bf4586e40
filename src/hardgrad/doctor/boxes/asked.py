"""A box that is asked: with seeded random numbers, on copies, counted, and no longer than there is time."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad.doctor.boxes.report import Finding
from hardgrad.doctor.randomness import seeded

_CLOSE = 1e-4  # relative to the largest output; sums may be made in another order
SMALL = 64  # numbers of a row, up to which each is looked at alone


class OutOfTimeError(Exception):
    """The seconds are over."""


class Asked:
    """The box, and what it is asked with.

    Args:
        box: takes tensors, batch first; or arrays, if ``arrays``.
        inputs: the user's, each of shape (B, *).
        low: of each input, the least that it may be; a tensor that fits a row.
        high: the most.
        arrays: whether the box takes NumPy arrays.
        seconds: until OutOfTimeError is raised.
        seed: of what the box draws.
    """

    def __init__(
        self,
        box: Callable[..., Any],
        inputs: tuple[Tensor, ...],
        low: tuple[Tensor, ...],
        high: tuple[Tensor, ...],
        arrays: bool,
        seconds: float,
        seed: int,
    ) -> None:
        self._box, self._arrays, self._seed = box, arrays, seed
        self.inputs, self.low, self.high = inputs, low, high
        self._deadline = time.perf_counter() + seconds
        self.calls, self.row_seconds = 0, math.inf
        self.written: set[int] = set()
        self.bad: dict[tuple[int, int], list[float]] = defaultdict(list)  # values that gave no finite output
        self.raised: dict[tuple[int, int], str] = {}
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._deadline - time.perf_counter()

    def __call__(self, *inputs: Tensor, seed: int = 0) -> Tensor:
        """Return what the box returns, shape (B, *), double precision."""
        if self.left < 0:
            raise OutOfTimeError
        given: list[Any] = [x.numpy(force=True).copy() if self._arrays else x.clone() for x in inputs]
        with torch.no_grad(), seeded(self._seed + seed, inputs[0].device):
            start = time.perf_counter()
            value = self._box(*given)
            self.row_seconds = min(self.row_seconds, (time.perf_counter() - start) / len(inputs[0]))
        self.calls += 1
        after = (torch.as_tensor(x) for x in given)
        self.written |= {k for k, (x, y) in enumerate(zip(inputs, after, strict=True)) if differs(x, y, 0.0)}
        return _output(value, len(inputs[0]))

    def elsewhere(self) -> tuple[Tensor, ...]:
        """Ask other inputs anywhere within their ranges, and return them; the rows in another order if it raises."""
        drawn = (torch.rand(x.shape, generator=self.generator, dtype=torch.float64) for x in self.inputs)
        other = tuple(
            (a + (b - a) * u.to(x.device)).to(x) if x.is_floating_point() else x
            for x, u, a, b in zip(self.inputs, drawn, self.low, self.high, strict=True)
        )
        try:
            self(*other)
        except OutOfTimeError:
            raise
        except Exception:  # the user's program, at values that the user did not give
            return tuple(x.flip(0) for x in self.inputs)
        return other

    def row(self, row: int) -> tuple[Tensor, ...]:
        """Return one of the user's rows, as a batch."""
        return tuple(x[row : row + 1] for x in self.inputs)

    def line(self, base: tuple[Tensor, ...], which: int, entry: int, values: Tensor) -> Tensor:
        """Return the outputs (n, m) for a row with one number replaced by each of n values; NaN where it raises."""
        rows = [x.expand(len(values), *x.shape[1:]).clone() for x in base]
        rows[which].flatten(1)[:, entry] = values.to(rows[which])
        try:
            y = rows_of(self(*rows))
        except OutOfTimeError:
            raise
        except Exception as error:  # the user's program, at values that the user did not give
            self.raised.setdefault((which, entry), f"{type(error).__name__}: {error}")
            return torch.full((len(values), 1), math.nan, dtype=torch.float64)
        self.bad[which, entry] += values[~y.isfinite().all(1).cpu()].tolist()
        return y

    def ends(self, which: int, entry: int) -> tuple[float, float]:
        """Return the range of a number of an input."""
        return float(self.low[which].flatten()[entry]), float(self.high[which].flatten()[entry])

    def findings(self) -> list[Finding]:
        """Return what was noticed along the way."""
        found = [
            Finding("writes", "it writes into what it is given; let it copy first, or use hg.BlackBox, which does", k)
            for k in sorted(self.written)
        ]
        for (k, i), values in self.bad.items():
            if values:
                place = f"between {min(values):.3g} and {max(values):.3g}" if len(values) > 1 else f"at {values[0]:.3g}"
                words = f"the output is NaN or infinite for values {place}; keep away by low= and high="
                found.append(Finding("nan", words, k, i, len(values)))
        found += [
            Finding("raises", f"within its range it raises {words}", k, i) for (k, i), words in self.raised.items()
        ]
        return found


def _output(value: Any, rows: int) -> Tensor:
    y = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
    if y.ndim < 1 or len(y) != rows:
        raise ValueError(
            f"examine: box must return one output for each row, first dimension {rows}, got shape {tuple(y.shape)}; "
            "hg.BlackBox makes a batch of a program of one row"
        )
    return y.double().clone()


def rows_of(y: Tensor) -> Tensor:
    """Return outputs as (B, m)."""
    return y.reshape(len(y), -1)


def differs(a: Tensor, b: Tensor, close: float = _CLOSE) -> float:
    """Return by how much two outputs differ, relative to the first; 0 if it is rounding alone."""
    if a.shape != b.shape:
        return 1.0
    a, b = a.double(), b.to(a.device).double()
    both = a.isnan() & b.isnan()
    a, b = a.masked_fill(both, 0), b.masked_fill(both, 0)
    gap = (a - b).nan_to_num(1.0, 1.0, 1.0).masked_fill(a == b, 0)
    most = float(a[a.isfinite()].abs().max()) if bool(a.isfinite().any()) else 0.0
    if not gap.numel() or float(gap.abs().max()) <= close * most:
        return 0.0
    return float(gap.norm() / a.nan_to_num(0, 0, 0).norm().clamp(min=1e-30))
