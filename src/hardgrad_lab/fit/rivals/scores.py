"""How good predictions are: over all rows, range by range, and one model against another on the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from hardgrad_lab.fit.rows import Array

BLOCKS = 30  # that test rows in order of time are cut into: neighbours err alike, blocks hardly do
SURE = 0.95  # probability that all intervals of a comparison hold
LEAST = 1e-15  # a probability below counts as this much: a class never met in training would cost infinitely much
TIE = 1.02  # errors that differ by less than this factor are equal for all purposes


@dataclass(frozen=True, kw_only=True)
class Margin:
    """A rival's RMSE over the switch's, and the interval that holds it.

    Args:
        factor: above 1 the switch is better.
        low: of the interval. high: of it.
    """

    factor: float
    low: float
    high: float

    def squared(self) -> Margin:
        """Return the same of squares, or of what errors are the roots of."""
        return Margin(factor=self.factor**2, low=self.low**2, high=self.high**2)

    @property
    def verdict(self) -> Literal["better", "worse", "alike"]:
        """Return what the rival is: better or worse than the switch if the test rows show it, else alike."""
        if self.factor > TIE and self.low > 1:
            return "worse"
        return "better" if self.factor < 1 / TIE and self.high < 1 else "alike"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A rival that the switch was not compared with.

    Args:
        name: of the rival.
        reason: in a line.
        possible: whether there is such a rival; without one that is possible, no rival can be called the best.
    """

    name: str
    reason: str
    possible: bool = True


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model measured on rows it was not trained on, whatever the measure.

    Args:
        name: of the model.
        described: what it is, in a line.
        ranges: the error of each range, in the model's measure; None for a range without a row.
        parameters: in all; 0 where counting them says nothing.
        active: that take part in one row's prediction; 0 likewise.
        updates: optimizer steps; 0 for a closed form.
        seconds: of training.
        margin: its error against the switch's on the same rows; None for the switch, and where the rows cannot say.
    """

    name: str
    described: str
    ranges: Sequence[float | None]
    parameters: int
    active: int
    updates: int
    seconds: float
    margin: Margin | None = None

    @property
    def error(self) -> float:
        """Return what models are ordered by."""
        raise NotImplementedError

    @property
    def said(self) -> str:
        """Return the error in words."""
        return f"{self.error:.4g}"


@dataclass(frozen=True, kw_only=True)
class Score(Measured):
    r"""A model of numbers.

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum (y - \bar y)^2}

    Args:
        rmse: root of the mean squared error, in the target's units.
        r2: None where the target does not vary.
    """

    rmse: float
    r2: float | None

    @property
    def error(self) -> float:
        """Return what models are ordered by."""
        return self.rmse


@dataclass(frozen=True, kw_only=True)
class SoundScore(Score):
    """A model of a sound: its ranges and its margin are of energies, too.

    Args:
        esr: energy of the error in that of the sound; None for silence.
    """

    esr: float | None

    @property
    def error(self) -> float:
        """Return what models are ordered by."""
        return self.rmse if self.esr is None else self.esr

    @property
    def said(self) -> str:
        """Return the error in per cent and decibels."""
        return f"{as_esr(self.esr)}, {as_db(self.esr)}"


@dataclass(frozen=True, kw_only=True)
class ClassScore(Measured):
    r"""A model of classes.

    .. math:: \text{log loss} = -\frac{1}{n} \sum_i \ln p_i(\text{the class of row } i)

    Args:
        log_loss: in nats a row.
        accuracy: share of the rows whose likeliest class is the right one.
    """

    log_loss: float
    accuracy: float

    @property
    def error(self) -> float:
        """Return what models are ordered by."""
        return self.log_loss


Scored = Score | ClassScore


def of_sound(score: Score, power: float, powers: Sequence[float | None]) -> SoundScore:
    """Return the score of a model of a sound.

    Args:
        score: in the sound's own unit.
        power: mean square of the truth on the test samples. powers: of those of each range; None for one without.
    """
    ranges = [None if r is None or not p else r**2 / p for r, p in zip(score.ranges, powers, strict=True)]
    margin = None if score.margin is None else score.margin.squared()
    given = {field.name: getattr(score, field.name) for field in fields(score)} | {"ranges": ranges, "margin": margin}
    return SoundScore(**given, esr=esr_of(score.rmse, power))


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
    if esr >= 10:
        return f"{100 * esr:,.0f} %"
    return f"{100 * esr:.3g} %" if esr >= 1e-5 or not esr else "below 0.001 %"


def as_db(esr: float | None) -> str:
    """Return a ratio of energies in decibels, such as ``-15.9 dB``."""
    if esr is None:
        return "-"
    return f"{round(10 * math.log10(esr), 1) + 0:.1f} dB" if esr else "-inf dB"  # + 0: no -0.0


def root_mean_square(errors: Array) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean(np.square(errors))))


def r_squared(truth: Array, predicted: Array) -> float | None:
    """Return R squared; None where the truth does not vary."""
    around = float(np.square(truth - truth.mean()).sum())
    return None if around == 0 else 1 - float(np.square(truth - predicted).sum()) / around


def log_losses(probabilities: Array, truth: NDArray[np.int64]) -> Array:
    """Return minus the logarithm of the probability of each row's class, (n,); -1 is a class that the model lacks."""
    known = np.maximum(truth, 0)
    found = np.where(truth >= 0, probabilities[np.arange(len(truth)), known], 0.0)
    said: Array = -np.log(np.maximum(found, LEAST))
    return said


def accuracy(probabilities: Array, truth: NDArray[np.int64]) -> float:
    """Return the share of the rows whose likeliest class is the right one."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def of_ranges(
    measure: Callable[[Array], float], of_rows: Array, index: NDArray[np.int64], ranges: int
) -> list[float | None]:
    """Return a measure of the rows of each range; None for a range without a row."""
    return [measure(of_rows[index == i]) if (index == i).any() else None for i in range(ranges)]


def margin(ours: Array, theirs: Array, blocks: NDArray[np.int64], rivals: int) -> Margin | None:
    r"""Compare two models' errors on the same rows.

    .. math:: r = \frac{1}{2} \ln\frac{\overline{b^2}}{\overline{a^2}}, \qquad
        u_i = \frac{1}{2}\left(\frac{b_i^2}{\overline{b^2}} - \frac{a_i^2}{\overline{a^2}}\right), \qquad
        s^2 = \frac{m}{m - 1} \frac{\sum_k (\sum_{i \in k} u_i)^2}{n^2}

    Args:
        ours: (n,) errors a of the switch.
        theirs: (n,) errors b of a rival.
        blocks: (n,) number of the block k, of m, that each row is in; rows without an order are blocks of one.
        rivals: how many are compared: the best of many looks better than it is, so the intervals are as wide as it
            takes for all of them to hold together.

    Returns:
        The factor exp(r), and exp(r) times or over exp(t s), t of Student's distribution with m - 1 degrees; None where
        there are fewer than two blocks or one of the models never errs.
    """
    a, b = np.square(ours), np.square(theirs)
    sums = np.bincount(blocks, weights=b / b.mean() - a / a.mean()) if a.any() and b.any() else np.zeros(1)
    count = len(np.unique(blocks))
    if count < 2 or len(sums) < 2:
        return None
    deviation = math.sqrt(count / (count - 1) * float(np.square(sums).sum())) / (2 * len(a))
    wide = float(stdtrit(count - 1, 1 - (1 - SURE) / 2 / max(1, rivals))) * deviation
    way = math.log(float(b.mean()) / float(a.mean())) / 2
    low, high = (math.exp(min(max(way + side, -700.0), 700.0)) for side in (-wide, wide))
    return Margin(factor=math.exp(way), low=low, high=high)


def blocks_of(rows: NDArray[np.int64], *, ordered: bool, window: int) -> NDArray[np.int64]:
    """Return the block that each row is in, (n,): its own; or where rows are in order of time, a stretch of them."""
    if not ordered:
        return np.arange(len(rows))
    length = max(window, -(-len(rows) // BLOCKS))
    pieces = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    parts = [part for piece in pieces for part in np.array_split(piece, max(1, round(len(piece) / length)))]
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])
