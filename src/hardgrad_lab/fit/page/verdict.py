"""What a fit's comparison shows, in a sentence or two: whoever won, and nothing that the test rows cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from hardgrad_lab.fit.rivals.scores import SURE, LeftOut, Score, Scored

ROUNDING = 1e-5  # error over the target's deviation at which single precision ends: a factor of it says nothing
VAST = 100  # a factor above which the errors are said instead
WITHOUT_RANGES = ("plain-total", "plain-active", "ridge", "logistic", "best-gain", "constant", "shares")
TOLD = "condition-input"  # is given the ranges as an input


def verdict(scores: Sequence[Scored], left_out: Sequence[LeftOut]) -> str:
    """Return what to say of the rivals; empty where none was compared with.

    Args:
        scores: the chosen model's first.
        left_out: rivals that there could have been, and rivals that there cannot be.
    """
    ours, *rivals = scores
    missing = [each.name for each in left_out if each.possible]
    if missing:
        return _incomplete(ours, rivals, missing)
    if not rivals:
        return ""
    best = min(rivals, key=lambda score: score.error)
    if best.margin is None:
        return f"The best rival, {best.name}, errs {best.said}."
    match best.margin.verdict:
        case "worse":
            return _won(ours, best)
        case "better":
            return _lost(ours, best)
        case _:
            return _tied(ours, best, [score.name for score in rivals if _does_as_well(score)])


def reasons(left_out: Sequence[LeftOut]) -> list[str]:
    """Return why rivals are missing, a sentence for each reason."""
    kinds = groupby(left_out, key=lambda each: each.reason)
    return [f"not compared with {_listed([each.name for each in same])}: {reason}" for reason, same in kinds]


def _incomplete(ours: Scored, rivals: Sequence[Scored], missing: Sequence[str]) -> str:
    """Say who is better for certain; of the others nothing is known while one is missing."""
    lost = [score for score in rivals if score.margin is not None and score.margin.verdict == "better"]
    said = f"Not compared with {_listed(missing)}, so no rival is called the best."
    return f"{_lost(ours, min(lost, key=lambda score: score.error))} {said}" if lost else said


def _won(ours: Scored, best: Scored) -> str:
    assert best.margin is not None
    if _at_rounding(ours):
        return f"The best rival, {best.name}, errs {best.said}; the {ours.name}'s error is rounding."
    if best.margin.factor > VAST:
        return f"The best rival, {best.name}, errs {best.said}, more than {VAST} times as much."
    return f"The best rival, {best.name}, errs {_factor(best)} times as much ({best.said})."


def _lost(ours: Scored, best: Scored) -> str:
    assert best.margin is not None
    side = "" if best.margin.factor < 1 / VAST else f", {_factor(best)} times the {ours.name}'s error"
    return f"{best.name} is better here ({best.said}{side})."


def _tied(ours: Scored, best: Scored, as_good: Sequence[str]) -> str:
    said = f"The best rival, {best.name}, does as well ({best.said}, {_factor(best)} times the {ours.name}'s error)"
    plain = [name for name in as_good if name in WITHOUT_RANGES and ours.name == "switch"]
    if best.name in plain:
        return f"{said}: the ranges bring nothing here."
    if plain:
        return f"{said}. So does {plain[0]}, which knows no ranges: they bring nothing here."
    return f"{said}; it is given the ranges, too." if best.name == TOLD else f"{said}."


def _does_as_well(score: Scored) -> bool:
    return score.margin is not None and score.margin.verdict != "worse"


def _factor(score: Scored) -> str:
    assert score.margin is not None
    return f"{score.margin.factor:.2f} ({SURE:.0%}: {score.margin.low:.2f} to {score.margin.high:.2f})"


def _at_rounding(score: Scored) -> bool:
    return score.error == 0 or (
        isinstance(score, Score) and score.r2 is not None and math.sqrt(max(0.0, 1 - score.r2)) < ROUNDING
    )


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
