"""How well one sound explains another at each lag, by any curve: distortion and polarity do not matter to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.fit.rows import Array

KNOTS = 12  # of the curve that a device without memory may be
RIDGE = 1e-6
TAPS = 48  # samples of the past that a short filter may use
FLOOR = 1e-3  # of the mean cross spectrum: frequencies far below it count less
ROWS = 24_000  # that a filter is measured on


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a recording.

    Args:
        dry: (reach + m + reach,) the input around the stretch.
        wet: (m,) the target.
        reach: lags that can be looked at, either way.
        part: which third of the recording it is from.
    """

    dry: Array
    wet: Array
    reach: int
    part: int

    def shifted(self, lag: int) -> Array:
        """Return the input (m,) that comes ``lag`` samples before the target."""
        begin = self.reach - lag
        return self.dry[begin : begin + len(self.wet)]

    def begin(self, length: int) -> Piece:
        """Return the beginning of the stretch, the same lags around it."""
        m = min(length, len(self.wet))
        return Piece(dry=self.dry[: m + 2 * self.reach], wet=self.wet[:m], reach=self.reach, part=self.part)


def hats(samples: Array, knots: Array) -> Array:
    """Return the piecewise linear functions (n, K) that are one at one knot and zero at the others."""
    n, k = len(samples), len(knots)
    place = np.clip(np.searchsorted(knots, samples, side="right") - 1, 0, k - 2)
    share = np.clip((samples - knots[place]) / (knots[place + 1] - knots[place]), 0, 1)
    made = np.zeros((n, k))
    made[np.arange(n), place] = 1 - share
    made[np.arange(n), place + 1] = share
    return made


def knots_of(pieces: Sequence[Piece]) -> Array:
    """Return the knots of the curve, quantiles of the input and its ends."""
    samples = np.concatenate([piece.dry[:: max(1, len(piece.dry) // 20_000)] for piece in pieces])
    ends = [min(piece.dry.min() for piece in pieces), max(piece.dry.max() for piece in pieces)]
    inner = np.quantile(samples, np.linspace(0, 1, KNOTS)[1:-1])
    knots: Array = np.unique(np.concatenate([inner, ends]))
    return knots


def explained_at_all(pieces: Sequence[Piece]) -> Array:
    r"""Return the share of the target's variance that is explained at each lag, (2 reach + 1,).

    .. math:: R^2(l) = 1 - \min_{a, b, c} \langle (y_t - a x_{t-l} - b |x_{t-l}| - c)^2 \rangle / \operatorname{var} y

    by sums over the stretch that each lag reaches: no lag is ahead because the input is louder there.
    """
    moments = np.sum([_moments(piece) for piece in pieces], axis=0)
    n = sum(len(piece.wet) for piece in pieces)
    x, a, xx, xa, xy, ay = moments[:, ::-1] / n
    wet = np.concatenate([piece.wet for piece in pieces])
    y, variance = float(wet.mean()), float(wet.var())
    sxx, saa, sxa = xx - x * x, xx - a * a, xa - x * a
    sxy, say = xy - x * y, ay - a * y
    # A little ridge: an input of one sign has |x| = x, and silence has no variance.
    sxx, saa = sxx + RIDGE * xx.max(), saa + RIDGE * xx.max()
    explained: Array = (saa * sxy**2 - 2 * sxa * sxy * say + sxx * say**2) / (sxx * saa - sxa**2) / variance
    return explained


def _moments(piece: Piece) -> Array:
    """Return the sums of x, |x|, x^2, x|x|, xy and |x|y over each place of the target along the input."""
    import scipy.fft

    fft: Any = scipy.fft  # whose stubs do not say that arrays come out
    x, a, m = piece.dry, np.abs(piece.dry), len(piece.wet)
    size = fft.next_fast_len(len(x), real=True)
    wet = np.conj(fft.rfft(piece.wet, size))
    sums = []
    for column in (x, a, x * x, x * a):
        running = np.concatenate([[0.0], np.cumsum(column)])
        sums.append(running[m:] - running[:-m])
    for column in (x, a):
        sums.append(fft.irfft(fft.rfft(column, size) * wet, size)[: len(x) - m + 1])
    return np.array(sums)


def whitened(pieces: Sequence[Piece]) -> Array:
    """Return the correlation by lag, (2 reach + 1,), of sounds whose spectra are made flat: sharp where noise is."""
    import scipy.fft

    fft: Any = scipy.fft  # whose stubs do not say that arrays come out
    reach = pieces[0].reach
    total = np.zeros(2 * reach + 1)
    for piece in pieces:
        size = fft.next_fast_len(len(piece.dry), real=True)
        dry = fft.rfft(piece.dry - piece.dry.mean(), size)
        cross = dry * np.conj(fft.rfft(piece.wet - piece.wet.mean(), size))
        flat = np.abs(cross)
        found = fft.irfft(cross / (flat + FLOOR * flat.mean()), size)[: 2 * reach + 1]
        total += np.abs(found[::-1])
    return total


def error_at(pieces: Sequence[Piece], knots: Array, lag: int) -> tuple[float, Array]:
    """Return the share of variance that the best curve leaves at a lag, and that of each of 8 blocks of each piece."""
    made = [hats(piece.shifted(lag), knots) for piece in pieces]
    wet = [piece.wet for piece in pieces]
    gram = np.sum([x.T @ x for x in made], axis=0)
    right = np.sum([x.T @ y for x, y in zip(made, wet, strict=True)], axis=0)
    weights = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), right)
    all_wet = np.concatenate(wet)
    power = float(np.square(all_wet - all_wet.mean()).mean())
    squares = [np.square(y - x @ weights) / power for x, y in zip(made, wet, strict=True)]
    blocks = np.array([float(block.mean()) for each in squares for block in np.array_split(each, 8)])
    return float(np.concatenate(squares).mean()), blocks


def rows_spread(pieces: Sequence[Piece], before: int, after: int) -> list[NDArray[np.int64]]:
    """Return rows of each piece, in 30 blocks, that have so many inputs before and after them."""
    chosen = []
    for piece in pieces:
        low, high = max(0, before - piece.reach), len(piece.wet) - max(0, after - piece.reach)
        length = max(1, min(ROWS // (30 * len(pieces)), (high - low) // 30))
        begins = np.linspace(low, max(low, high - length), 30).astype(np.int64)
        chosen.append((begins[:, None] + np.arange(length)).ravel())
    return chosen


def filter_errors(pieces: Sequence[Piece], lags: Sequence[int], knots: Array, at: int) -> tuple[Array, float, float]:
    """Return what short filters leave of the target's variance, on blocks that were not fitted to.

    Args:
        pieces: of the recording.
        lags: consecutive first lags of the filter, which goes on for TAPS samples.
        knots: of the curve.
        at: the lag of the curve.

    Returns:
        The error of the filter for each first lag; that of the curve alone; and of the curve and the filter together.
    """
    every = np.arange(lags[0], lags[-1] + TAPS)
    designs, targets, fitted = [], [], []
    for piece, rows in zip(pieces, rows_spread(pieces, int(every[-1]), -int(every[0])), strict=True):
        past = piece.dry[rows[:, None] + piece.reach - every]
        designs.append(np.hstack([past, np.abs(past), hats(piece.shifted(at)[rows], knots)]))
        targets.append(piece.wet[rows])
        fitted.append(np.repeat(np.arange(30) % 2 == 0, len(rows) // 30))
    design, target, train = np.vstack(designs), np.concatenate(targets), np.concatenate(fitted)
    design = (design - design[train].mean(axis=0)) / (design[train].std(axis=0) + 1e-12)
    target = target - target[train].mean()
    judge = _Judge(design[train], target[train], design[~train], target[~train])
    count = len(every)
    here = at - int(every[0])  # what a filter has of that lag, the curve has too
    curve = np.r_[here, here + count, 2 * count : design.shape[1]]
    errors = []
    for lag in lags:
        taps = np.arange(TAPS) + lag - lags[0]
        errors.append(judge.error(np.concatenate([taps, taps + count])))
    return np.array(errors), judge.error(curve), judge.error(np.concatenate([np.arange(2 * count), curve]))


class _Judge:
    """Ridge regressions on some columns of one design, from products that are computed once."""

    def __init__(self, x: Array, y: Array, other_x: Array, other_y: Array) -> None:
        self._gram, self._right = x.T @ x / len(x), x.T @ y / len(x)
        self._other_gram, self._other_right = other_x.T @ other_x / len(other_x), other_x.T @ other_y / len(other_x)
        self._power = float(np.square(other_y).mean()) or 1.0

    def error(self, columns: NDArray[np.int64]) -> float:
        gram = self._gram[np.ix_(columns, columns)]
        weights = np.linalg.solve(gram + RIDGE * np.eye(len(columns)), self._right[columns])
        other = self._other_gram[np.ix_(columns, columns)]
        left = self._power - 2 * weights @ self._other_right[columns] + weights @ other @ weights
        return float(left / self._power)
