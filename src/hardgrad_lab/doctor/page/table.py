"""A diagnosis as a table: what each number is called, and what is said of each candidate in one word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hardgrad_lab.doctor.record import Diagnosis, Row

Tone = Literal["uphill", "flat", "refused", "unbiased", "biased", "unknown"]
VERDICT: dict[Tone, str] = {
    "uphill": "UPHILL",
    "flat": "flat",
    "refused": "refused",
    "unbiased": "",
    "biased": "biased",
    "unknown": "?",
}
HEADINGS = ("estimator", "cosine", "bias", "noise", "progress", "time", "f", "")
NUMERIC = range(1, len(HEADINGS) - 1)
NONE = "-"
LEGEND = (
    "cosine: of the expected gradient with the true one, and its standard error; below 0 a step goes uphill. "
    "bias, noise: length of the error that stays (none: none was found; < 0.3: nor could one below have been) and of "
    "the error that averages out, in lengths of the true gradient. "
    "progress: what a step along one gradient gains, of what a step along the truth does. "
    "time: of one gradient of the batch. f: evaluations of the function for it, a row."
)


@dataclass(frozen=True)
class Line:
    """One candidate.

    Args:
        name: of the candidate.
        tone: what it comes to.
        cells: for ``HEADINGS``.
        refusal: why there are no numbers; empty if there are.
    """

    name: str
    tone: Tone
    cells: list[str]
    refusal: str


def lines(diagnosis: Diagnosis) -> list[Line]:
    """Return the table, in the order of the candidates."""
    return [_line(row) for row in diagnosis.rows]


def tone_of(row: Row) -> Tone:
    """Return what a row comes to."""
    if row.error is not None:
        return "refused"
    if row.flat:
        return "flat"
    if row.uphill:
        return "uphill"
    if row.bias is None:
        return "unknown"
    return "biased" if row.biased else "unbiased" if row.unbiased else "unknown"


def noise_of(row: Row) -> float | None:
    """Return the length of a gradient's noise, in lengths of the true gradient; 0 for one without noise."""
    if row.bias is None:
        return None
    return 0.0 if row.signal_to_noise is None else 1 / math.sqrt(row.signal_to_noise)


def bias_of(row: Row) -> str:
    """Return the relative bias, that none was found, or below what none could have been."""
    if row.bias is None:
        return NONE
    if row.biased or row.flat:
        return share(row.bias)
    return "none" if row.unbiased else f"< {share(row.smallest_bias)}"


def share(value: float | None) -> str:
    """Return a ratio with two figures, such as 0.042, 0.48 or 17."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    return f"{value:.0f}" if value >= 10 else f"{value:#.2g}"


def duration(seconds: float | None) -> str:
    """Return a time with its unit."""
    if seconds is None:
        return NONE
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 9.995e-3 else f"{seconds * 1e6:.0f} us"


def cosine_of(row: Row) -> str:
    """Return the cosine with its standard error."""
    if row.cosine is None:
        return NONE
    error = row.cosine_error or 0.0
    return f"{row.cosine:.2f} ±{error:.2f}".replace("±0.00", "")


def _line(row: Row) -> Line:
    tone = tone_of(row)
    if row.error is not None:
        return Line(row.name, tone, [row.name, *[""] * (len(HEADINGS) - 2), VERDICT[tone]], _first(row.error))
    cells = [
        row.name,
        cosine_of(row).strip(),
        bias_of(row),
        share(noise_of(row)),
        NONE if row.progress is None else share(row.progress),
        duration(row.seconds),
        NONE if row.evaluations is None else f"{row.evaluations:.4g}",
        VERDICT[tone],
    ]
    return Line(row.name, tone, cells, "")


def _first(error: str) -> str:
    return error.splitlines()[0].removeprefix("ValueError: ")


def about_truth(diagnosis: Diagnosis) -> str:
    """Return where the truth comes from, in words."""
    truth = diagnosis.truth
    known = (
        ""
        if truth.kind == "enumeration"
        else f", known to {truth.standard_error / truth.norm:.1%}"
        if truth.norm
        else ""
    )
    same = "" if diagnosis.repeats != "state" else ", if the function were the same at every call, which it is not"
    draws = sorted({row.draws for row in diagnosis.rows if row.error is None} or {diagnosis.draws})
    counted = f"{draws[0]:,}" if len(draws) == 1 else f"{draws[0]:,} to {draws[-1]:,}"
    return f"truth by {truth.kind}{known}{same} ({truth.evaluations:,} evaluations a row), {counted} draws of each"
