"""What the numbers mean: warnings, and what to use."""

from __future__ import annotations

from hardgrad.doctor.diagnosis import Truth
from hardgrad.doctor.row import SEEN, Row

# Candidates whose progress differs by less than this are told apart by their cost instead.
_AS_GOOD = 0.9
_DEAD = 0.05


def warnings_of(rows: tuple[Row, ...], truth: Truth, warm_up: int) -> tuple[str, ...]:
    """Return what to know before using one of the candidates."""
    lines: list[str] = []
    if not truth.resolved:
        lines.append(
            f"the true gradient is not told apart from zero (norm {truth.norm:.2g}, standard error "
            f"{truth.standard_error:.2g}): nothing is said relative to it; try another objective, or another sigma"
        )
    elif truth.standard_error > 0.1 * truth.norm:
        known = truth.standard_error / truth.norm
        lines.append(f"the truth itself is known to {known:.0%} only; a larger budget sharpens it")
    for row in rows:
        lines += _about(row, warm_up)
    return tuple(lines + _in_some_rows(rows) + _power(rows, truth))


def _in_some_rows(rows: tuple[Row, ...]) -> list[str]:
    """Which point uphill in some rows only: one line, since in a batch of few rows it is true of most."""
    some = [row for row in rows if row.error is None and not (row.flat or row.uphill) and row.uphill_rows]
    listed = "; ".join(f"{row.name}: {row.uphill_rows:.0%}" for row in some)
    return [f"uphill in some of the rows, if not over the whole batch: {listed}"] if some else []


def _power(rows: tuple[Row, ...], truth: Truth) -> list[str]:
    """What could not be seen: a bias that is smaller than the noise lets show."""
    blind = [
        row for row in rows
        if row.error is None and not (row.biased or row.flat) and (row.smallest_bias or 0.0) > SEEN
    ]  # fmt: skip
    if not blind:
        return []
    listed = "; ".join(f"{row.name}: {row.smallest_bias:.0%}" for row in blind)
    needed = max(row.draws * ((row.smallest_bias or 0.0) / SEEN) ** 2 for row in blind)
    # A mean cannot be known better than what it is held against.
    cure = f"give draws={_rounded(needed)}" if truth.standard_error < SEEN / 4 * truth.norm else "give a larger budget"
    return [
        "no bias was found, but these draws cannot say that there is none: the smallest one that could be seen (nine "
        f"times in ten, at four standard errors) is, of the true gradient, {listed}; {cure} to see one of {SEEN:.0%}"
    ]


def _rounded(number: float) -> int:
    """Up to two figures."""
    unit = int(10 ** max(len(str(int(number))) - 2, 0))
    return -(-int(number) // unit) * unit


def warnings_of_mixing(samples: bool, rows: bool) -> tuple[str, ...]:
    """Return what to know of a function that mixes samples or rows of a batch."""
    lines = []
    if samples:
        lines.append(
            "the function mixes the samples of its first dimension, so a normalization over them, say, sees another "
            "batch with every number of samples; for the truth it was called one sample at a time"
        )
    if rows:
        lines.append(
            "the function mixes the rows of a batch; the truth is of their sum, and an estimator that gives each row "
            "its own number leaves out what a row does to the others' values: read that as its bias"
        )
    return tuple(lines)


def _about(row: Row, warm_up: int) -> list[str]:
    if row.error is not None:
        return []
    if row.flat:
        return [f"{row.name} gives no gradient: all of it is exactly zero"]
    lines = []
    if row.uphill:
        lines.append(
            f"{row.name} points uphill: cosine {row.cosine:.2f} +- {row.cosine_error or 0:.2f} with the truth; a step "
            "along it makes the objective worse"
        )
    if row.learns and not warm_up:
        lines.append(f"{row.name} learns, and was examined as it stands; with warm_up a copy of it learns first")
    if row.dead is not None and row.dead > _DEAD:
        lines.append(f"{row.name} never moves coordinates that make {row.dead:.0%} of the true gradient's squared norm")
    return lines


def advise(rows: tuple[Row, ...], truth: Truth, function_seconds: float) -> str:
    """Return what to use and why."""
    if not truth.resolved:
        return "none: where there is no true gradient there is nothing to choose by."
    usable = [row for row in rows if row.error is None and not row.uphill and row.progress]
    if not usable:
        return "none of these: each refused, was flat or pointed uphill; hardgrad.score_function is never biased."
    most = max(row.progress or 0 for row in usable)
    best = min((row for row in usable if (row.progress or 0) >= _AS_GOOD * most), key=_seconds)
    words = [f"use {best.name}: {_gain(best)} ({_quality(best)}){_cost(best, function_seconds)}."]
    unbiased = [row for row in usable if row.unbiased]
    if all(row.biased for row in usable):
        words.append("Every one of the candidates is biased here.")
    elif not unbiased:
        words.append("None of the candidates is shown to be without bias.")
    elif best.biased:
        other = max(unbiased, key=lambda row: row.progress or 0)
        words.append(
            f"Its bias is nothing that averaging mends; without bias, {other.name}: {_gain(other)} ({_quality(other)})."
        )
    cheap = max(usable, key=lambda row: (row.progress or 0) / max(_seconds(row), 1e-9))
    if cheap is not best and _seconds(cheap) < _seconds(best) / 2:
        words.append(f"If time counts, {cheap.name}: {_gain(cheap)}{_cost(cheap, function_seconds)}.")
    return " ".join(words)


def _seconds(row: Row) -> float:
    return row.seconds or 0.0


def _gain(row: Row) -> str:
    return f"a step along one gradient gains {row.progress:.2g} of what the true gradient would"


def _quality(row: Row) -> str:
    noise = "no noise" if row.signal_to_noise is None else f"signal to noise {row.signal_to_noise:.2g}"
    return f"{_bias(row)}, {noise}"


def _bias(row: Row) -> str:
    if row.biased:
        return f"bias {row.bias:.0%}"
    if row.unbiased:
        return "no bias found" if row.smallest_bias is None else f"no bias found down to {row.smallest_bias * 100:.2g}%"
    return f"a bias below {row.smallest_bias or 0.0:.0%} could not be seen"


def _cost(row: Row, function_seconds: float) -> str:
    if row.seconds is None:  # it was stopped before it was timed
        return ""
    return f", in the time of {row.seconds / max(function_seconds, 1e-9):.2g} evaluations of the function"
