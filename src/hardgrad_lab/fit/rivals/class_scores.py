"""How good predicted probabilities of classes are: over all rows, and range by range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.fit.rivals.scores import Margin, margin
from hardgrad_lab.fit.rows import Array

LEAST = 1e-15  # a probability below counts as this much: a class never met in training would cost infinitely much


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    r"""One classifier measured on rows it was not trained on.

    .. math:: \text{log loss} = -\frac{1}{n} \sum_i \ln p_i(\text{the class of row } i)

    Args:
        name: of the model.
        described: what it is, in a line.
        log_loss: in nats a row.
        accuracy: share of the rows whose likeliest class is the right one.
        ranges: the log loss of each range; None for a range without a row.
        parameters: in all; 0 where counting them says nothing.
        active: that take part in one row's prediction; 0 likewise.
        updates: optimizer steps; 0 for a closed form.
        seconds: of training.
        margin: its log loss over the switch's on the same rows; None for the switch, and where the rows cannot say.
    """

    name: str
    described: str
    log_loss: float
    accuracy: float
    ranges: Sequence[float | None]
    parameters: int
    active: int
    updates: int
    seconds: float
    margin: Margin | None = None

    @property
    def error(self) -> float:
        """Return what models are ordered by."""
        return self.log_loss


def losses(probabilities: Array, truth: NDArray[np.int64]) -> Array:
    """Return minus the logarithm of the probability of each row's class, (n,); -1 is a class that the model lacks."""
    known = np.maximum(truth, 0)
    found = np.where(truth >= 0, probabilities[np.arange(len(truth)), known], 0.0)
    said: Array = -np.log(np.maximum(found, LEAST))
    return said


def accuracy(probabilities: Array, truth: NDArray[np.int64]) -> float:
    """Return the share of the rows whose likeliest class is the right one."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def means(of_rows: Array, index: NDArray[np.int64], ranges: int) -> list[float | None]:
    """Return the mean of each range; None for a range without a row."""
    return [float(of_rows[index == i].mean()) if (index == i).any() else None for i in range(ranges)]


def loss_margin(ours: Array, theirs: Array, blocks: NDArray[np.int64], rivals: int) -> Margin | None:
    """Return a rival's mean loss over the switch's, as ``margin`` does for the roots of mean squares."""
    found = margin(np.sqrt(ours), np.sqrt(theirs), blocks, rivals)
    return None if found is None else Margin(factor=found.factor**2, low=found.low**2, high=found.high**2)
