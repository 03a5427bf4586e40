"""The candidates' turns, one after the other: what each gave, or why it gave nothing; what there is, is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import torch

from hardgrad.doctor.apart import copies_at_once
from hardgrad.doctor.compare import compare
from hardgrad.doctor.copies import Candidate, Shared, required_arguments
from hardgrad.doctor.cost import Cost, Costs, costs, error_text
from hardgrad.doctor.function import FunctionError, Guarded
from hardgrad.doctor.measure import Draws, draw
from hardgrad.doctor.pace import Pace
from hardgrad.doctor.power import Rounding, draws_wanted
from hardgrad.doctor.randomness import seed_of
from hardgrad.doctor.repeats import Repeats
from hardgrad.doctor.row import Row
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.stopped import Stopped
from hardgrad.doctor.subject import Subject
from hardgrad.doctor.truth import Reference

DRAWS = 1000  # of each candidate, unless told otherwise
SHOWN = 1024  # coordinates of gradients that a diagnosis keeps for a picture
LEAST = 25  # evaluations that the fewest gradients of a candidate take, and the trials before them
_CHEAP_SECONDS = 60.0  # that draws beyond those of the default may take


class Exam(NamedTuple):
    """What is the same for all candidates.

    Args:
        smoothed: the objective.
        function: the user's.
        shared: the same, as copies of candidates hold it.
        truth: what candidates are held against.
        draws: gradients of each; None for as many as it takes.
        warm_up: steps.
        master: the diagnosis's seed.
        pace: the clock.
        repeats: whether the function is the same at every call.
    """

    smoothed: Smoothed
    function: Guarded
    shared: Shared
    truth: Reference
    draws: int | None
    warm_up: int
    master: int
    pace: Pace
    repeats: Repeats


class Examined(NamedTuple):
    """A candidate and its gradients."""

    subject: Subject
    draws: Draws


@dataclass
class Turns:
    """What came of the candidates.

    Args:
        results: by name, gradients or why there are none.
        stopped: why not all were examined; None if they were.
        by_hand: whether somebody stopped it.
        cost: of those examined.
    """

    results: dict[str, Examined | str] = field(default_factory=dict)
    stopped: str | None = None
    by_hand: bool = False
    cost: Costs | None = None

    @property
    def measured(self) -> int:
        return sum(isinstance(one, Examined) for one in self.results.values())


def take_turns(candidates: Mapping[str, Candidate], exam: Exam) -> Turns:
    """Examine the candidates until all are, the function breaks, or somebody stops it.

    Raises:
        KeyboardInterrupt: if it is stopped before any was examined.
    """
    turns = Turns(stopped=exam.truth.stopped)
    try:
        _all(candidates, exam, turns)
    except KeyboardInterrupt:
        if not turns.measured:
            raise
        turns.stopped, turns.by_hand = Stopped.reason, True
    return turns


def _all(candidates: Mapping[str, Candidate], exam: Exam, turns: Turns) -> None:
    for name, candidate in candidates.items():
        exam.pace.begin()
        exam.function.where = f"in the turn of {name}"
        turns.results[name] = _examined(name, candidate, exam)
        if isinstance(turns.results[name], str):
            exam.function.where = "from then on"
            # A refusal of what this candidate handed over, or of everything from now on?
            if broken := _broken(exam.smoothed):
                turns.stopped = f"the function answers no more: {broken}"
                return
    _time(exam, turns)


def _time(exam: Exam, turns: Turns) -> None:
    """Find what each costs, and whether the function is still what it was."""
    exam.pace.begin()
    exam.function.where = "while it was timed"
    subjects = [one.subject for one in turns.results.values() if isinstance(one, Examined)]
    turns.cost = costs(exam.smoothed, subjects, seed_of(exam.master, "cost"), exam.pace)
    exam.function.where = "after all was measured"
    try:
        exam.repeats.ask_again()
    except ValueError as error:  # all is measured: let it not be lost
        turns.stopped = f"the function answers no more: {str(error).removeprefix('diagnose: ')}"


def _broken(smoothed: Smoothed) -> str:
    """What the function raises at the inputs now; empty if it answers."""
    try:
        with torch.no_grad():
            _ = (
                smoothed.values(smoothed.sample(smoothed.x.unsqueeze(0)))
                if smoothed.hard is None
                else smoothed.hard(smoothed.x.clone())
            )
    except FunctionError as error:
        return str(error).removeprefix("diagnose: ")
    return ""


def _examined(name: str, candidate: Candidate, exam: Exam) -> Examined | str:
    """A candidate and what it gave, or why it gave nothing."""
    if exam.pace.left < (least := LEAST * exam.repeats.seconds):
        return (
            f"not examined: of the limit of {exam.pace.limit:g} s its turn found {exam.pace.left:.1f} s left, and the "
            f"fewest gradients take {least:.1f} s"
        )
    try:
        subject = Subject(name, candidate, exam.smoothed, exam.shared)
        trial = seed_of(exam.master, f"trials of {name}")
        subject.at_once = copies_at_once(subject, trial)
        if exam.warm_up:
            subject.warm_up(exam.warm_up, seed_of(exam.master, f"warm-up of {name}"), exam.pace)
            # Once more: what it has learned may be to look at the other rows.
            subject.at_once = copies_at_once(subject, trial)
        return Examined(subject, _drawn(subject, exam))
    except Exception as error:  # of the user's code, hence of any kind; the others are still to be examined
        return error_text(error)


def _drawn(subject: Subject, exam: Exam) -> Draws:
    """As many gradients as were asked for, or as it takes to see a bias."""
    seed, pace, truth = seed_of(exam.master, f"draws of {subject.name}"), exam.pace, exam.truth
    start, wanted = pace.now(), exam.draws or DRAWS
    drawn = draw(subject, wanted, truth.gradient, seed, pace)
    if drawn.count < wanted:
        pace.cuts.append(f"{subject.name}: {drawn.count} of {wanted} draws")
        return drawn
    if exam.draws is not None:
        return drawn
    more = draws_wanted(drawn, truth, subject.at_once, Rounding.of(exam.smoothed))
    seconds = more * (pace.now() - start) / drawn.count
    if not more or seconds > _CHEAP_SECONDS or pace.affordable(seconds) < 1:
        return drawn
    return drawn.and_more(draw(subject, more, truth.gradient, seed_of(seed, "more"), pace))


def rows_of(candidates: Mapping[str, Candidate], exam: Exam, turns: Turns) -> tuple[Row, ...]:
    """Return a row for each candidate, those that were not examined among them."""
    left = f"not examined: {turns.stopped}"
    return tuple(
        _finite(_row(name, candidate, turns.results.get(name, left), _cost(name, turns), exam.truth))
        for name, candidate in candidates.items()
    )


def _cost(name: str, turns: Turns) -> Cost | str:
    own = Cost(None, None, None, None) if turns.cost is None else turns.cost.of.get(name, "")
    # What was measured before the function broke stays.
    return Cost(None, None, None, None) if turns.stopped and isinstance(own, str) else own


def _row(name: str, candidate: Candidate, one: Examined | str, own: Cost | str, truth: Reference) -> Row:
    if isinstance(one, str) or isinstance(own, str):
        return Row(name, _kind(candidate), error=one if isinstance(one, str) else str(own))
    subject, drawn = one
    comparison = compare(drawn, truth, subject.smoothed.rows, Rounding.of(subject.smoothed))
    return Row(
        name=name,
        kind="layer" if subject.is_layer else "estimator",
        variance=drawn.variance,
        cosine_of_one=drawn.cosine_of_one,
        zeros=drawn.zeros,
        draws=drawn.count,
        learns=drawn.learns,
        mean=tuple(drawn.mean.flatten()[:SHOWN].tolist()),
        **asdict(comparison),
        **asdict(own),
    )


def _finite(row: Row) -> Row:
    """The row, or that its numbers are too large for arithmetic: no record holds what is no number."""
    numbers = [value for value in vars(row).values() if isinstance(value, float)]
    if all(map(math.isfinite, (*numbers, *row.mean))):
        return row
    return replace(
        Row(row.name, row.kind),
        error="its gradients are too large for double precision when they are squared; scale the objective down",
    )


def _kind(candidate: Candidate) -> str:
    return "layer" if required_arguments(candidate) == 1 else "estimator"
