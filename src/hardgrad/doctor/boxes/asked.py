"""A box that is asked: on copies, with seeded random numbers, counted, and no longer than there is time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.doctor.boxes.report import Finding
from hardgrad.doctor.randomness import seeded

T = TypeVar("T")
Row = tuple[Tensor, ...]  # one row of each input, or several
SMALL = 64  # numbers of a row, up to which each is looked at alone
_LARGE = 2**23  # numbers of a batch, from which a line is asked in parts
_MOST = 8192  # outputs of a row that are looked at along a line
_CLOSE = 1e-4  # relative to the largest output; sums may be made in another order


class OutOfTimeError(Exception):
    """There is no time for the next call."""


@dataclass
class Asked:
    """A box, the user's inputs (B, *) to it, the range of each number of a row, and what was found so far."""

    box: Callable[..., Any]
    inputs: Row
    low: Row
    high: Row
    arrays: bool  # whether it takes NumPy arrays
    deadline: float
    seed: int
    calls: int = 0
    size: int = 1  # numbers of a row, of the largest input or the output
    row_seconds: float = math.inf
    kind: str = "same"  # or "state", "random", "unseeded": what it gives for the same again
    error: str = ""  # what it raised last, away from the user's inputs
    findings: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def __call__(self, *inputs: Tensor, seed: int = 0) -> Tensor:
        """Return what the box returns, shape (B, *), in double precision."""
        rows = len(inputs[0])
        if self.calls and rows * self.row_seconds > self.deadline - time.perf_counter():
            raise OutOfTimeError
        given = self.copies(inputs)
        with torch.no_grad(), seeded(self.seed + seed, inputs[0].device):
            start = time.perf_counter()
            value = self.box(*given)
            self.row_seconds = min(self.row_seconds, (time.perf_counter() - start) / rows)
        self.calls += 1
        for k, (x, after) in enumerate(zip(inputs, given, strict=True)):
            if differs(x, torch.as_tensor(after), 0.0) and all(
                (f.kind, f.input) != ("writes", k) for f in self.findings
            ):
                self.find("writes", "it writes into what it is given; hg.BlackBox hands over copies", k)
        y = as_tensor("box must return", value)
        if y.ndim < 1 or len(y) != rows or not y.numel():
            raise ValueError(
                f"examine: box must return numbers for each row, first dimension {rows}, got shape {tuple(y.shape)}; "
                "hg.BlackBox makes a batch of a program of one row"
            )
        self.size = max(t.numel() // rows for t in (y, *inputs))
        return y.double().clone()

    def copies(self, inputs: Row) -> list[Any]:
        """Return the inputs as the box takes them, to keep."""
        return [x.numpy(force=True).copy() if self.arrays else x.clone() for x in inputs]

    def ask(self, name: str, question: Callable[..., T], *args: Any, otherwise: T) -> T:
        """Return the answer to a question, or note that it is left out."""
        try:
            return question(self, *args)
        except OutOfTimeError:
            self.left_out.append(f"{name} (no time)")
        except Exception as error:  # of the user's program, at inputs that the user did not give
            self.left_out.append(f"{name} ({type(error).__name__}: {error})")
        return otherwise

    def find(
        self, kind: str, words: str, which: int | None = None, entry: int | None = None, value: Any = None
    ) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, words, which, entry, value))

    def row(self, row: int) -> Row:
        """Return one of the user's rows, as a batch."""
        return tuple(x[row % len(x)][None] for x in self.inputs)

    def elsewhere(self) -> Row:
        """Ask other inputs anywhere in their ranges, and return them; the rows in another order if it raises."""
        other = []
        for x, low, high in zip(self.inputs, self.low, self.high, strict=True):
            u = torch.rand(x.shape, generator=self.generator, dtype=torch.float64).to(x.device)
            other.append((low + (high - low) * u).to(x) if x.is_floating_point() else x)
        try:
            self(*other)
        except OutOfTimeError:
            raise
        except Exception:  # the user's program, at values that the user did not give
            return tuple(x.flip(0) for x in self.inputs)
        return tuple(other)

    def line(self, row: Row, which: int, way: Tensor, steps: Tensor) -> Tensor:
        """Return the outputs (n, m) at a row with an input moved n steps along a way; NaN where the box raises."""
        count = len(steps)
        if count > 1 and count * self.size > _LARGE:
            return torch.cat([self.line(row, which, way, part) for part in steps.chunk(2)])
        moved = row[which].double() + steps.view(-1, *[1] * way.ndim).to(way) * way
        moved = moved.clamp(self.low[which], self.high[which]).to(row[which])
        try:
            return thinned(self(*(moved if k == which else x.expand(count, *x.shape[1:]) for k, x in enumerate(row))))
        except OutOfTimeError:
            raise
        except Exception as error:  # the user's program, at values that the user did not give
            self.error = f"{type(error).__name__}: {error}"
        if count == 1:
            return torch.full((1, 1), math.nan, dtype=torch.float64)
        each = [self.line(row, which, way, step[None]) for step in steps]
        return torch.cat([y.expand(1, max(len(y[0]) for y in each)) for y in each])

    def number(self, row: Row, which: int, entry: int) -> tuple[Tensor, Tensor, float]:
        """Return the way along one number of an input alone, how far it is to either end, and where it is in a row."""
        way = torch.zeros_like(self.low[which])
        way.view(-1)[entry] = 1
        low, high, at = (float(t.reshape(-1)[entry]) for t in (self.low[which], self.high[which], row[which]))
        return way, torch.tensor([low - at, high - at], dtype=torch.float64), at


def as_tensor(rule: str, value: Any) -> Tensor:
    """Return an array of real numbers as a tensor without a gradient, or raise ValueError."""
    try:
        made = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        made = None
    if made is None or made.is_complex():
        raise ValueError(f"examine: {rule} a tensor or an array of real numbers, got {_check.kind_of(value)}") from None
    return made


def thinned(y: Tensor) -> Tensor:
    """Return outputs as (n, m) with a few thousand at most of each row."""
    y = y.reshape(len(y), -1)
    return y[:, :: -(-y.shape[1] // _MOST)]


def differs(a: Tensor, b: Tensor, close: float = _CLOSE) -> float:
    """Return by how much two outputs differ, relative to the first; 0 if it is rounding alone."""
    if a.shape != b.shape:
        return 1.0
    a, b = a.double(), b.to(a.device).double()
    gap = (a - b).nan_to_num(1, 1, 1).masked_fill((a == b) | (a.isnan() & b.isnan()), 0)
    a = a.nan_to_num(0, 0, 0)
    if not gap.numel() or float(gap.abs().max()) <= close * float(a.abs().max()):
        return 0.0
    return float(gap.norm() / a.norm().clamp(min=1e-30))
