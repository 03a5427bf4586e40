"""The configurations of runs on drawn rows: what all may spend, and one way to train through a hard function."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import require


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is learned, and with how much of everything.

    Args:
        task: what is learned.
        contestant: what lends it a gradient.
        budget: the preset the other values started from.
        width: channels of the first convolution, units of the selector, or neurons of a layer.
        steps: of Adam.
        batch: rows in a step.
        lr: Adam's rate at the start; it falls to nothing along a cosine.
        test_rows: rows of the last measure.
        evaluations: points on the curve.
    """

    task: str
    contestant: str
    budget: Budget
    width: int
    steps: int
    batch: int
    lr: float
    test_rows: int
    evaluations: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int):
                require(value >= 1, each.name, "at least 1", value)
            if isinstance(value, float):
                require(value > 0, each.name, "greater than 0", value)


@dataclass(frozen=True, kw_only=True)
class Trial(Effort):
    """One way to train through a hard function, seed apart.

    Args:
        size: pictures that are ordered, cells of a side of a square, features that are kept, steps of time, or bits.
        softness: temperature of a relaxation, scale of a solver's noise, strength of an interpolation, width of a twin.
        samples: draws a row, of what draws.
    """

    size: int
    softness: float
    samples: int = 1
