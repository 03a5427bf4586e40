"""A box that is asked: on copies, with seeded random numbers, counted, and no longer than there is time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from hardgrad.doctor.boxes.report import Finding
from hardgrad.doctor.randomness import seeded

T = TypeVar("T")
SMALL = 64  # numbers of a row, up to which each is looked at alone
_CLOSE = 1e-4  # relative to the largest output; sums may be made in another order


class OutOfTimeError(Exception):
    """There is no time for the next call."""


@dataclass
class Asked:
    """A box, the user's inputs (B, *) to it, the range of each number of a row, and what was found so far."""

    box: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    low: tuple[Tensor, ...]
    high: tuple[Tensor, ...]
    arrays: bool  # whether it takes NumPy arrays
    deadline: float
    seed: int
    calls: int = 0
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
        left = self.deadline - time.perf_counter()
        if left < 0 or (self.calls and rows * self.row_seconds > left):
            raise OutOfTimeError
        given: list[Any] = [x.numpy(force=True).copy() if self.arrays else x.clone() for x in inputs]
        with torch.no_grad(), seeded(self.seed + seed, inputs[0].device):
            start = time.perf_counter()
            value = self.box(*given)
            self.row_seconds = min(self.row_seconds, (time.perf_counter() - start) / rows)
        self.calls += 1
        for k, (x, y) in enumerate(zip(inputs, given, strict=True)):
            if differs(x, torch.as_tensor(y), 0.0) and all(f.kind != "writes" or f.input != k for f in self.findings):
                self.find(
                    "writes", "it writes into what it is given; wrap it in hg.BlackBox, which hands over copies", k
                )
        y = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
        if y.ndim < 1 or len(y) != rows:
            raise ValueError(
                f"examine: box must return one output for each row, first dimension {rows}, got shape "
                f"{tuple(y.shape)}; hg.BlackBox makes a batch of a program of one row"
            )
        return y.double().clone()

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
        self, kind: str, words: str, input: int | None = None, entry: int | None = None, value: Any = None
    ) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, words, input, entry, value))

    def row(self, row: int) -> tuple[Tensor, ...]:
        """Return one of the user's rows, as a batch."""
        return tuple(x[row % len(x)][None] for x in self.inputs)

    def elsewhere(self) -> tuple[Tensor, ...]:
        """Ask other inputs anywhere in their ranges, and return them; the rows in another order if it raises."""
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

    def line(self, row: tuple[Tensor, ...], which: int, way: Tensor, steps: Tensor) -> Tensor:
        """Return the outputs (n, m) at a row with an input moved n steps along a way; NaN where the box raises."""
        rows = [x.expand(len(steps), *x.shape[1:]) for x in row]
        moved = row[which].double() + steps.view(-1, *[1] * way.ndim).to(way) * way
        rows[which] = moved.clamp(self.low[which], self.high[which]).to(row[which])
        try:
            y = self(*rows)
            return y.reshape(len(y), -1)
        except OutOfTimeError:
            raise
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        if len(steps) == 1:
            return torch.full((1, 1), math.nan, dtype=torch.float64)
        each = [self.line(row, which, way, step[None]) for step in steps]
        return torch.cat([y.expand(1, max(len(y[0]) for y in each)) for y in each])

    def way_of(self, which: int, entry: int) -> Tensor:
        """Return the way along one number of an input alone."""
        way = torch.zeros_like(self.low[which])
        way.view(-1)[entry] = 1
        return way

    def ends(self, row: tuple[Tensor, ...], which: int, entry: int) -> tuple[float, float, float]:
        """Return the range of a number of an input, and where it is in a row."""
        tables = (self.low[which], self.high[which], row[which])
        return tuple(float(table.reshape(-1)[entry]) for table in tables)  # type: ignore[return-value]


def differs(a: Tensor, b: Tensor, close: float = _CLOSE) -> float:
    """Return by how much two outputs differ, relative to the first; 0 if it is rounding alone."""
    if a.shape != b.shape:
        return 1.0
    a, b = a.double(), b.to(a.device).double()
    same = (a == b) | (a.isnan() & b.isnan())
    a, gap = a.nan_to_num(0, 0, 0), (a - b).nan_to_num(1, 1, 1).masked_fill(same, 0)
    if not gap.numel() or float(gap.abs().max()) <= close * float(a.abs().max()):
        return 0.0
    return float(gap.norm() / a.norm().clamp(min=1e-30))
