"""From what was measured to a diagnosis: the truth and the rows, what to know of them, and what to use."""

from __future__ import annotations

import math

from hardgrad.doctor.advice import advise, warnings_of, warnings_of_mixing
from hardgrad.doctor.compare import is_resolved
from hardgrad.doctor.diagnosis import Diagnosis, Truth
from hardgrad.doctor.mixing import Mixing
from hardgrad.doctor.pace import Pace
from hardgrad.doctor.repeats import CHANGES, words_of
from hardgrad.doctor.row import Row
from hardgrad.doctor.truth import GROUPS, Reference
from hardgrad.doctor.turns import DRAWS, SHOWN, Exam, Turns


def conclude(function: str, exam: Exam, turns: Turns, mixing: Mixing, rows: tuple[Row, ...], truth: Truth) -> Diagnosis:
    """Return the diagnosis.

    Args:
        function: its name.
        exam: what was the same for all candidates.
        turns: what came of them.
        mixing: what the function mixes.
        rows: of the candidates.
        truth: that they are held against.
    """
    smoothed, repeats = exam.smoothed, exam.repeats
    state = repeats.kind == "state"
    once = turns.cost.function_seconds if turns.cost else max(repeats.seconds, smoothed.call_time.seconds(1))
    return Diagnosis(
        rows=rows,
        truth=truth,
        warnings=(
            *_of_turns(turns, exam.pace),
            *words_of(repeats.kind, repeats.rows, repeats.asked),
            *(() if state else warnings_of_mixing(*mixing)),  # a state looks like mixing
            *warnings_of(rows, truth, exam.warm_up),
        ),
        advice=advise(rows, truth, once) + (f" {CHANGES}" if state else ""),
        about=smoothed.about,
        function=function,
        noise=smoothed.noise_kind,
        sigma=smoothed.sigma if isinstance(smoothed.sigma, float) else None,
        shape=tuple(smoothed.x.shape),
        device=str(smoothed.x.device),
        draws=-(-(exam.draws or DRAWS) // GROUPS) * GROUPS,
        warm_up=exam.warm_up,
        function_seconds=once,
        repeats=repeats.kind,
        stopped=turns.stopped,
        clock="wall",
    )


def _of_turns(turns: Turns, pace: Pace) -> list[str]:
    """Return what is missing, and why."""
    notes = []
    if turns.stopped:
        notes.append(f"this diagnosis is not whole, {turns.measured} candidates were measured: {turns.stopped}")
    if pace.cuts:
        notes.append(
            f"the limit of {pace.limit:g} s cut short {'; '.join(pace.cuts)}; the standard errors are as wide as that"
        )
    return notes


def truth_of(reference: Reference) -> Truth:
    """Return the truth as a diagnosis has it.

    Raises:
        ValueError: if its numbers are beyond double precision.
    """
    summary = Truth(
        kind=reference.kind,
        norm=math.sqrt(max(reference.squared_norm, 0.0)),
        standard_error=math.sqrt(float(reference.variance.sum())),
        evaluations=reference.evaluations,
        resolved=is_resolved(reference),
        gradient=tuple(reference.gradient.flatten()[:SHOWN].tolist()),
    )
    if not all(map(math.isfinite, (summary.norm, summary.standard_error, *summary.gradient))):
        raise ValueError(
            "diagnose: the values of function must leave room for their squares, got a true gradient beyond double "
            "precision; scale the objective down"
        )
    return summary
