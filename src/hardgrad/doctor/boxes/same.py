"""Whether a box gives the same for the same: at another call, in another batch."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import Asked, differs
from hardgrad.doctor.boxes.report import Finding

_AGAIN = 8  # calls with one input, to tell a state that settles or drifts from chance


def repeats(asked: Asked) -> list[Finding]:
    """Ask A, A, then B and A: what changes is a state or chance, which seeds may reach or not."""
    first, second = asked(*asked.inputs), asked(*asked.inputs)
    asked.elsewhere()
    after = asked(*asked.inputs)
    changed = max(differs(first, second), differs(second, after))
    if not changed:
        size = differs(after, asked(*asked.inputs, seed=1))
        words = f"it draws random numbers (two seeds differ by {size:.1%} of the output)"
        return [Finding("random", f"{words}; estimates need several samples", value=size)] if size else []
    if _is_state(asked, after):
        words = f"what it was given before changes what it returns (by {changed:.1%} of the output)"
        return [
            Finding(
                "state", f"{words}; let it begin anew at each call: reset it, or hand over a factory", value=changed
            )
        ]
    words = f"the same input gives outputs that differ by {changed:.1%}, with all random seeds alike"
    return [Finding("random", f"{words}; it draws numbers that no seed reaches", value=changed)]


def _is_state(asked: Asked, after: Tensor) -> bool:
    ys = [asked(*asked.inputs) for _ in range(_AGAIN)]
    if any(not differs(a, b) for i, a in enumerate(ys) for b in ys[:i]):
        return True
    steps = [float((a - b).norm()) for a, b in zip(ys[1:], ys[:-1], strict=True)]
    usual = sum(step * step for step in steps) ** 0.5 / len(steps) ** 0.5
    # Draws of one law are as far apart after eight calls as after one; a state drifts, settles, or remembers B.
    mean = sum(ys[1:], start=ys[0]) / len(ys)
    return (
        float((ys[-1] - ys[0]).norm()) > 3 * usual
        or float((after - mean).norm()) > 4 * usual
        or steps[-1] < steps[0] / 10
    )


def rows_apart(asked: Asked, unseeded: bool, drawn: bool) -> list[Finding]:
    """Ask for a row with another neighbour, alone, and in another place: all after the same call."""
    if unseeded:
        return []
    other = tuple(x[:1] for x in asked.elsewhere())
    one = asked.row(len(asked.inputs[0]) - 1)
    pair = _stack(asked.row(0) if len(asked.inputs[0]) > 1 else other, one)
    if len(asked.inputs[0]) == 1:
        other = tuple(x[:1] for x in asked.elsewhere())

    def last(*batch: Tensor, at: int) -> Tensor:
        asked(*pair)
        return asked(*batch)[at]

    usual = last(*pair, at=1)
    floor = 3 * differs(usual, last(*pair, at=1))  # of a state that goes on
    size = differs(usual, last(*_stack(other, one), at=1))
    if not drawn:  # with other places in the batch come other random numbers
        size = max(size, differs(usual, last(*one, at=0)), differs(usual, last(*_stack(one, other), at=0)))
    words = f"the other rows of a batch change what a row gives (by {size:.1%} of the output)"
    return (
        [Finding("rows", f"{words}; let it begin anew at each row, or give it one row at a time", value=size)]
        if size > floor
        else []
    )


def _stack(one: tuple[Tensor, ...], two: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.cat([a, b]) for a, b in zip(one, two, strict=True))
