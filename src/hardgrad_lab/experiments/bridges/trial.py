"""The configuration that digits, paths, explain and spikes share: one way to train through a hard function."""

from __future__ import annotations

from dataclasses import dataclass

from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import require


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way to train, seed apart.

    Args:
        task: what is learned.
        contestant: what lends it a gradient.
        budget: the preset the other values started from.
        size: pictures that are ordered, cells of a side of a square, features that are kept, or steps of time.
        softness: temperature of a relaxation, scale of a solver's noise, strength of an interpolation, width of a twin.
        samples: draws a row, of what draws.
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
    size: int
    softness: float
    samples: int = 1
    width: int
    steps: int
    batch: int
    lr: float
    test_rows: int
    evaluations: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("size", "samples", "width", "steps", "batch", "test_rows", "evaluations"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("softness", "lr"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
