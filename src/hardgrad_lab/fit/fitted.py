"""What a fit made: the model, how good it and its rivals are, and what ran it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.devices.choose import Tried
from hardgrad_lab.devices.device import Device
from hardgrad_lab.fit.estimator import SwitchClassifier, SwitchRegressor
from hardgrad_lab.fit.rivals.scores import LeftOut, Scored

Model = SwitchRegressor | SwitchClassifier


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a job made.

    Args:
        model: the fitted estimator.
        scores: the chosen model first, then its rivals, on the test rows.
        test: the test rows, ascending.
        predicted: (n,) the model's prediction of every row, a number or the name of a class.
        index: (n,) the range of every row.
        left_out: rivals that it was not compared with, and why.
        seconds: in all sittings.
        unseen: whether the test rows were set aside; if none were, they are the rows fitted to.
        ordered: whether rows follow each other in time.
        seed: of the job.
        machine: what ran it, and when it began.
        source: fingerprint of the table.
        tried: the chosen model, where it is one with a memory; then ``predicted`` and ``index`` are its own.
        trained: the rows that devices learned from.
        said: how the choice was made.
    """

    model: Model
    scores: Sequence[Scored]
    test: NDArray[np.int64]
    predicted: NDArray[Any]
    index: NDArray[np.int64]
    left_out: list[LeftOut]
    seconds: float
    unseen: bool
    ordered: bool
    seed: int
    machine: dict[str, Any]
    source: str
    tried: Tried | None = None
    trained: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    said: Sequence[str] = ()

    @property
    def device(self) -> Device | None:
        """Return the chosen model, where it is one with a memory."""
        return None if self.tried is None else self.tried.device

    @property
    def visits(self) -> list[int]:
        """Return how many rows of each range the chosen model learned from."""
        if self.device is None:
            return self.model.visits_
        counts = np.bincount(self.index[self.trained], minlength=max(1, len(self.device.labels())))
        return [int(count) for count in counts]
