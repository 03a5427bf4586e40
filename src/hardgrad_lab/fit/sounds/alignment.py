"""How late a recording comes after what was played, found and taken out; what is not certain is only said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.sounds.fractions import APART, find_fraction, moved
from hardgrad_lab.fit.sounds.lags import Piece, error_at, explained_at_all, filter_errors, knots_of, whitened
from hardgrad_lab.fit.sounds.levels import is_flat

REACH_S = 0.5  # seconds that are looked through, either way
LONGEST = 1 << 17  # samples of a stretch
BRIEF = 1 << 14  # samples of a stretch in which clocks do not drift apart by much
SHORTEST = 64  # samples of a recording in which a delay is looked for
CANDIDATES = 6
LOBE = 0.9  # of the best, what a lag beside it must explain to belong to it
BETTER = 1.2  # times the error that the next best lag must have
MUCH_BETTER = 1.5  # the same for another lag in one third of the recording
AS_GOOD = 1.1  # times the best error, at which no delay is preferred to a small one
NEARLY_ALL = 0.8  # of the blocks, in which the next best must be worse
QUIET = 1e-3  # of the loudest block's error: blocks below decide nothing
LEAST = 0.01  # of the variance that must be explained at all
AGREE = 4  # samples by which thirds of a recording may differ
REMEMBERS = 0.6  # of the error of a curve, what a filter must leave less than where there is a memory
EXACT = 1e-3  # of the variance, what a curve may leave without being looked into
GUARD = 12  # samples that are left before the first that a device with a memory may need
DRIFTS = 200e-6  # the most that two clocks are taken to differ by


@dataclass(frozen=True, kw_only=True)
class Delay:
    """What was found of a delay.

    Args:
        samples: that the target is late by, and that are to be taken out; negative where it is early.
        closest: the lag at which one sample explains most, for a branch that sees no other.
        fraction: of a sample, that the target is later than both; 0 where it is small, or a memory could as well be it.
        sure: whether that is certain.
        candidates: lags that explain the target, the best first.
        error: the share of the target's variance that the best of them leaves.
        drift: samples by which the delay grows from the first third to the last.
        inverted: whether the target goes down where the input goes up.
        filtered: whether the device has a memory of some samples, so that the delay is the least it may be.
    """

    samples: int = 0
    closest: int = 0
    fraction: float = 0.0
    sure: bool = False
    candidates: tuple[int, ...] = ()
    error: float = 1.0
    drift: int = 0
    inverted: bool = False
    filtered: bool = False


def find_delay(pairs: Sequence[tuple[Array, Array]], rate: int) -> Delay:
    """Find how many samples the target of a recording comes after its input, to a fraction of one.

    At each lag the target is held against the best curve of the input, so that the answer is that of a device without
    memory, whatever its curve; thirds of the recording must agree. Where a filter explains more than the curve, as in
    a device with a memory, the lag at which it explains most is not its delay: then what is returned leaves all that
    such a filter needs.

    Args:
        pairs: input and target (n,) of each channel, equally long.
        rate: samples a second.

    Returns:
        The delay, not ``sure`` where several lags do as well, or none does.
    """
    pieces = [piece for x, y in pairs for piece in _pieces(x, y, rate)]
    if not pieces:
        return Delay()
    knots = knots_of(pieces)
    reach = pieces[0].reach
    total = explained_at_all(pieces)
    candidates = _candidates(total, whitened(pieces), reach)
    errors = {lag: error_at(pieces, knots, lag) for lag in candidates}
    ranked = sorted(candidates, key=lambda lag: errors[lag][0])
    best = ranked[0]
    if errors[0][0] <= AS_GOOD * errors[best][0] and _beside(total, best + reach, reach):
        best = 0
    left, blocks = errors[best]
    rivals = [lag for lag in ranked if not _beside(total, best + reach, lag + reach)]
    certain = left < 1 - LEAST and all(_is_worse(errors[lag], (left, blocks)) for lag in rivals)
    drift, agreed = _by_thirds(pieces, best, len(pairs[0][1]))
    inverted = _is_inverted(pieces, best)
    if not (certain and agreed):
        return Delay(candidates=tuple(ranked), error=left, inverted=certain and inverted)
    fraction = 0.0 if drift else find_fraction(pieces, knots, best)
    samples, filtered = _least(moved(pieces, fraction), knots, best) if fraction else _least(pieces, knots, best)
    closest = samples if samples == 0 else best
    return Delay(
        samples=samples,
        closest=closest,
        fraction=0.0 if filtered else fraction,
        sure=True,
        candidates=tuple(ranked),
        error=left,
        drift=drift,
        inverted=inverted,
        filtered=filtered,
    )


def one_delay(found: Sequence[Delay]) -> Delay | None:
    """Return the delay of all recordings of one device: the earliest, where those that are sure agree; else None."""
    sure = [each for each in found if each.sure]
    closest = [each.closest + each.fraction for each in sure]
    if len(sure) < 2 or max(closest) - min(closest) > AGREE:
        return None
    earliest = min(sure, key=lambda each: each.samples + each.fraction)
    return earliest if max(closest) - min(closest) < APART else replace(earliest, fraction=0.0)


def _pieces(x: Array, y: Array, rate: int) -> list[Piece]:
    """Return the loudest stretch of each third of a recording."""
    n = len(y)
    reach = min(round(REACH_S * rate), n // 4)
    if n < SHORTEST:
        return []
    found = []
    for part, (begin, end) in enumerate(_thirds(reach, n - reach)):
        length = min(LONGEST, end - begin)
        power = np.concatenate([[0.0], np.cumsum(np.square(y[begin:end] - y[begin:end].mean()))])
        loudest = begin + int(np.argmax(power[length:] - power[:-length]))
        dry, wet = x[loudest - reach : loudest + length + reach], y[loudest : loudest + length]
        if not (is_flat(dry) or is_flat(wet)):
            found.append(Piece(dry=dry, wet=wet, reach=reach, part=part))
    return found


def _thirds(begin: int, end: int) -> list[tuple[int, int]]:
    edges = np.linspace(begin, end, 4).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _candidates(explained: Array, correlated: Array, reach: int) -> list[int]:
    """Return the lags of the highest peaks of both, and no lag."""
    from scipy.signal import find_peaks

    found = {0}
    for curve in (explained, correlated):
        peaks, _ = find_peaks(np.concatenate([[-1.0], curve, [-1.0]]))
        found |= {int(at) - reach for at in sorted(peaks - 1, key=lambda at: -curve[at])[:CANDIDATES]}
    return sorted(found)


def _beside(total: Array, best: int, other: int) -> bool:
    """Return whether a lag belongs to the same hump as the best: nothing between them explains much less."""
    low, high = sorted((best, other))
    return bool(total[low : high + 1].min() > LOBE * min(total[best], total[other]))


def _is_worse(other: tuple[float, Array], best: tuple[float, Array]) -> bool:
    """Return whether a lag leaves more than the best, by much and in nearly all blocks that have sound."""
    much = other[0] > BETTER * best[0] or (1 - other[0]) < (1 - best[0]) / BETTER
    loud = other[1] > QUIET * other[1].max()
    return much and bool((other[1] > best[1])[loud].mean() >= NEARLY_ALL)


def _by_thirds(pieces: Sequence[Piece], best: int, n: int) -> tuple[int, bool]:
    """Return by how much the delay grows over the recording, and whether its thirds agree on one, or on a drift."""
    reach = pieces[0].reach
    width = AGREE + round(DRIFTS * n)
    low, high = max(0, best + reach - width), best + reach + width + 1
    lags: list[int] = []
    for part in sorted({piece.part for piece in pieces}):
        near = explained_at_all([piece.begin(BRIEF) for piece in pieces if piece.part == part])
        lag = low + int(near[low:high].argmax()) - reach
        ours, theirs = near[best + reach], near[lag + reach]
        differs = 1 - ours > MUCH_BETTER * (1 - theirs) or theirs > MUCH_BETTER * ours
        lags.append(lag if differs else best)
    grown = lags[-1] - lags[0]
    if max(lags) - min(lags) <= AGREE:
        return 0, True
    even = len(lags) == 3 and abs(lags[1] - (lags[0] + lags[-1]) / 2) <= max(AGREE, abs(grown) / 4)
    return (grown, True) if even and abs(grown) > AGREE else (0, False)


def _is_inverted(pieces: Sequence[Piece], lag: int) -> bool:
    x = np.concatenate([piece.shifted(lag) for piece in pieces])
    y = np.concatenate([piece.wet for piece in pieces])
    return bool(np.corrcoef(x, y)[0, 1] < -0.2)


def _least(pieces: Sequence[Piece], knots: Array, best: int) -> tuple[int, bool]:
    """Return the delay to take out, and whether the device has a memory on top of it."""
    room = min(piece.reach for piece in pieces)
    lags = [lag for lag in range(best - 3 * GUARD, best + GUARD + 1) if -room <= lag]
    if min(len(piece.wet) for piece in pieces) < 600:
        return best, False
    errors, curve, both = filter_errors(pieces, lags, knots, best)
    if both >= REMEMBERS * curve or curve < EXACT or not errors.argmin():
        return best, False
    enough = [lag for lag, error in zip(lags, errors, strict=True) if error <= 1.01 * errors.min() + 1e-6]
    least = max(enough) - GUARD
    return (0 if least <= 0 <= best else least), True
