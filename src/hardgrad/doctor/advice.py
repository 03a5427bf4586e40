"""What the numbers mean: warnings, and what to use."""

from __future__ import annotations

from hardgrad.doctor.diagnosis import Row, Truth

# Candidates whose progress differs by less than this are told apart by their cost instead.
_AS_GOOD = 0.9
_DEAD = 0.05


def warnings_of(rows: tuple[Row, ...], truth: Truth, warm_up: int) -> tuple[str, ...]:
    """Return what to know before using one of the candidates."""
    found: list[str] = []
    if not truth.resolved:
        found.append(
            f"the true gradient is not told apart from zero (norm {truth.norm:.2g}, standard error "
            f"{truth.standard_error:.2g}): nothing is said relative to it; try another objective, or another sigma"
        )
    elif truth.standard_error > 0.1 * truth.norm:
        known = truth.standard_error / truth.norm
        found.append(f"the truth itself is known to {known:.0%} only; a larger budget sharpens it")
    for row in rows:
        found += _about(row, warm_up)
    return tuple(found)


def _about(row: Row, warm_up: int) -> list[str]:
    if row.error is not None:
        return []
    if row.flat:
        return [f"{row.name} gives no gradient: all of it is exactly zero"]
    found = []
    if row.uphill:
        found.append(
            f"{row.name} points uphill: cosine {row.cosine:.2f} +- {row.cosine_error or 0:.2f} with the truth; a step "
            "along it makes the objective worse"
        )
    elif row.uphill_rows:
        found.append(f"{row.name} points uphill in {row.uphill_rows:.0%} of the rows, if not over the whole batch")
    if row.learns and not warm_up:
        found.append(f"{row.name} learns, and was examined as it stands; with warm_up a copy of it learns first")
    if row.dead is not None and row.dead > _DEAD:
        found.append(f"{row.name} never moves coordinates that make {row.dead:.0%} of the true gradient's squared norm")
    return found


def advise(rows: tuple[Row, ...], truth: Truth, function_seconds: float) -> str:
    """Return what to use and why."""
    if not truth.resolved:
        return "none: where there is no true gradient there is nothing to choose by."
    usable = [row for row in rows if row.error is None and not row.uphill and row.progress]
    if not usable:
        return "none of these: each refused, was flat or pointed uphill; hardgrad.score_function is never biased."
    most = max(row.progress or 0 for row in usable)
    best = min((row for row in usable if (row.progress or 0) >= _AS_GOOD * most), key=_seconds)
    words = [f"use {best.name}: {_gain(best)} ({_quality(best)}), in {_cost(best, function_seconds)}."]
    unbiased = [row for row in usable if row.unbiased]
    if not unbiased:
        words.append("Every one of the candidates is biased here.")
    elif not best.unbiased:
        other = max(unbiased, key=lambda row: row.progress or 0)
        words.append(
            f"Its bias is nothing that averaging mends; without bias, {other.name}: {_gain(other)} ({_quality(other)})."
        )
    cheap = max(usable, key=lambda row: (row.progress or 0) / max(_seconds(row), 1e-9))
    if cheap is not best and _seconds(cheap) < _seconds(best) / 2:
        words.append(f"If time counts, {cheap.name}: {_gain(cheap)}, in {_cost(cheap, function_seconds)}.")
    return " ".join(words)


def _seconds(row: Row) -> float:
    return row.seconds or 0.0


def _gain(row: Row) -> str:
    return f"a step along one gradient gains {row.progress:.2g} of what the true gradient would"


def _quality(row: Row) -> str:
    bias = "no bias found" if row.unbiased else f"bias {row.bias:.0%}"
    noise = "no noise" if row.signal_to_noise is None else f"signal to noise {row.signal_to_noise:.2g}"
    return f"{bias}, {noise}"


def _cost(row: Row, function_seconds: float) -> str:
    return f"the time of {_seconds(row) / max(function_seconds, 1e-9):.2g} evaluations of the function"
