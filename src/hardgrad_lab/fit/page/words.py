"""Words of a fit's page: rows of a table, samples of a sound; how good, in the measure that its readers use."""

from __future__ import annotations

import math
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
        return Words(rows="samples", truth="the box's output", target=f"{target}, the box's output", key="input")
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


def esr_of(rmse: float, power: float) -> float | None:
    """Return the error-to-signal ratio; None for silence.

    Args:
        rmse: root of the mean squared error.
        power: mean square of the truth.
    """
    return rmse**2 / power if power else None


def as_esr(esr: float | None) -> str:
    """Return a ratio of energies in per cent, such as ``2.6 %``."""
    if esr is None:
        return "-"
    return f"{100 * esr:.3g} %" if esr >= 1e-5 or not esr else "below 0.001 %"


def as_db(esr: float | None) -> str:
    """Return a ratio of energies in decibels, such as ``-15.9 dB``."""
    if esr is None:
        return "-"
    return f"{round(10 * math.log10(esr), 1) + 0:.1f} dB" if esr else "-inf dB"  # + 0: no -0.0


def explained(r2: float, target: str) -> str:
    """Return what R squared means, in a clause; less than nothing is said to be worse than the mean."""
    if r2 < 0:
        return f"that is worse than saying the mean of {target} every time (R² {r2:.3g})"
    return f"it explains {r2:.2%} of {target}'s variance"
