"""Words of a fit's page: rows of a table, samples of a sound; how good, in the measure that its readers use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Words:
    """What things are called.

    Args:
        rows: what a prediction is made of.
        truth: the values to predict.
        target: the column, or the file, of these.
        key: what decides.
        measure: by which models are ordered.
        loss: what a training makes small.
    """

    rows: str
    truth: str
    target: str
    key: str
    measure: str = "RMSE"
    loss: str = "loss, in squared deviations"


class Labelled(Protocol):
    """Ranges that can name themselves."""

    def label(self, i: int) -> str:
        """Return the i-th range's name."""
        ...

    def __len__(self) -> int: ...


def words(target: str, key: str, *, sound: bool, classes: bool = False) -> Words:
    """Return the words for a table, of numbers or of classes, or for a sound."""
    if sound:
        wet = "the box's output"
        return Words(rows="samples", truth=wet, target=f"{target}, {wet}", key=key, measure="ESR")
    if classes:
        return Words(
            rows="rows", truth="truth", target=target, key=key, measure="log loss", loss="cross-entropy, in nats"
        )
    return Words(rows="rows", truth="truth", target=target, key=key)


def range_labels(ranges: Labelled, categories: Sequence[str] = ()) -> list[str]:
    """Return the names of ranges, or of the key's categories; ranges at the ends take what lies beyond, too."""
    if categories:
        return list(categories)
    last = len(ranges) - 1
    labels = [ranges.label(i) for i in range(last + 1)]
    if not last:
        return [f"{labels[0]} and beyond"]
    return [f"{labels[0]} and below", *labels[1:last], f"{labels[last]} and above"]


def explained(r2: float, target: str) -> str:
    """Return what R squared means, in a clause; less than nothing is said to be worse than the mean."""
    if r2 < 0:
        return f"that is worse than saying the mean of {target} every time (R² {r2:.3g})"
    return f"it explains {r2:.2%} of {target}'s variance"
