"""What the numbers mean: warnings, and what to use."""

from __future__ import annotations

from hardgrad.doctor.diagnosis import Row, Truth


def warnings_of(rows: tuple[Row, ...], truth: Truth, warm_up: int) -> tuple[str, ...]:
    """Return what to know before using one of the candidates."""
    found: list[str] = []
    if not truth.resolved:
        found.append(
            f"the true gradient is not told apart from zero (norm {truth.norm:.2g}, standard error "
            f"{truth.standard_error:.2g}): nothing can be said relative to it; take another objective or a larger sigma"
        )
    elif truth.standard_error > 0.1 * truth.norm:
        found.append(
            f"the truth itself is known to {truth.standard_error / truth.norm:.0%} only; raise budget to see finer"
        )
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
            f"{row.name} points uphill: cosine {row.cosine:.2f} +- {row.cosine_error or 0:.2f} with the truth, so a "
            "step along it makes the objective worse"
        )
    elif row.uphill_rows:
        found.append(f"{row.name} points uphill in {row.uphill_rows:.0%} of the rows, though not on the whole batch")
    if row.learns and not warm_up:
        found.append(f"{row.name} learns, and was examined as it is; warm_up= lets a copy of it learn first")
    if row.zeros is not None and row.zeros > 0.5:
        found.append(f"{row.zeros:.0%} of the gradient of {row.name} is exactly zero")
    return found


def advise(rows: tuple[Row, ...], truth: Truth) -> str:
    """Return what to use and why."""
    usable = [row for row in rows if row.error is None and not row.flat and not row.uphill and row.bias is not None]
    if not truth.resolved:
        return "none: without a true gradient there is nothing to choose by."
    if not usable:
        return "none of these: each refused, was flat or pointed uphill. Try hardgrad.score_function or hardgrad.exact."
    fastest = min(row.seconds or 0.0 for row in usable)
    best = min(usable, key=lambda row: _squared_error(row, truth, fastest))
    words = [f"use {best.name}: at equal time its gradient is nearest to the truth ({_quality(best)})."]
    unbiased = [row for row in usable if row.unbiased]
    if not best.unbiased and unbiased:
        other = min(unbiased, key=lambda row: _squared_error(row, truth, fastest))
        words.append(
            f"It is biased; of those without bias, {other.name} is the quietest at equal time ({_quality(other)}): "
            "prefer it where many gradients are averaged, by a large batch or a small step."
        )
    if not unbiased:
        words.append("None of the candidates is free of bias here.")
    return " ".join(words)


def _squared_error(row: Row, truth: Truth, fastest: float) -> float:
    """Of one gradient, relative to the truth, were a slower candidate's time spent on averaging the fastest's."""
    noise = (row.variance or 0.0) / truth.norm**2
    slower = (row.seconds or 0.0) / fastest if fastest else 1.0
    return (row.bias or 0.0) ** 2 + noise * slower


def _quality(row: Row) -> str:
    bias = "no bias found" if row.unbiased else f"bias {row.bias:.0%}"
    noise = "no noise" if row.signal_to_noise is None else f"signal to noise {row.signal_to_noise:.2g}"
    cosine = "" if row.cosine_of_one is None else f", one gradient at cosine {row.cosine_of_one:.2f}"
    return f"{bias}, {noise}{cosine}"
