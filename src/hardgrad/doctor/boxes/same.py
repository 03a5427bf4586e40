"""Whether a box gives the same for the same, at another call and in another batch, and applies what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, differs

_AGAIN = 8  # calls with one input, to tell a state that settles or drifts from chance
_ROWS = 3  # of the user's, in which a number may show
Read = Callable[[], Sequence[Any]]


def repeats(asked: Asked) -> None:
    """Ask A, A, then B and A: what changes is a state, or random numbers, which seeds reach or not."""
    first, second = asked(*asked.inputs), asked(*asked.inputs)
    asked.elsewhere()
    after = asked(*asked.inputs)
    size = max(differs(first, second), differs(second, after))
    if not size:
        size = differs(after, asked(*asked.inputs, seed=1))
        if size:
            words = f"two random seeds differ by {size:.1%} of the output; an estimate needs several samples"
            asked.find("random", words, value=size)
            asked.kind = "random"
        return
    if _is_state(asked, after):
        asked.kind = "state"
        words = f"what it was given before changes the output by {size:.1%}; let it begin anew at each call"
        asked.find("state", words, value=size)
    else:
        asked.kind = "unseeded"
        asked.find("random", f"the same input differs by {size:.1%} of the output, and no seed reaches it", value=size)


def _is_state(asked: Asked, after: Tensor) -> bool:
    """Draws of one law are as far apart after eight calls as after one; a state settles, drifts, or remembers B."""
    ys = [asked(*asked.inputs) for _ in range(_AGAIN)]
    steps = torch.stack([(a - b).norm() for a, b in zip(ys[1:], ys[:-1], strict=True)])
    usual = float(steps.square().mean().sqrt())
    far = float((after - sum(ys[1:], start=ys[0]) / len(ys)).norm())
    again = any(not differs(a, b) for i, a in enumerate(ys) for b in ys[:i])
    return again or float((ys[-1] - ys[0]).norm()) > 3 * usual or far > 4 * usual or bool(steps[-1] < steps[0] / 10)


def rows_apart(asked: Asked) -> None:
    """Ask for a row with another neighbor, alone, and in another place, each after the same call."""
    one, near, far = asked.row(-1), tuple(x[:1] for x in asked.elsewhere()), tuple(x[:1] for x in asked.elsewhere())

    def last(*batch: tuple[Tensor, ...], at: int = -1) -> Tensor:
        asked(*map(torch.cat, zip(near, one, strict=True)))
        return asked(*map(torch.cat, zip(*batch, strict=True)))[at]

    usual, others = last(near, one), [last(far, one)]
    if asked.kind != "random":  # with other places in the batch come other random numbers
        others += [last(one), last(one, far, at=0)]
    size = max(differs(usual, other) for other in others)
    if size > 3 * differs(usual, last(near, one)):  # what a state moves in as many calls
        words = f"the other rows of a batch change a row's output by {size:.1%}; let it begin anew at each row"
        asked.find("rows", words, value=size)


def applied(asked: Asked, read: Read | None) -> None:
    """Ask each number of each small input at both ends of its range, in rows of the user's and in others."""
    other = asked.elsewhere()
    rows = [*map(asked.row, range(min(len(other[0]), _ROWS)))]
    rows += [tuple(x[i][None] for x in other) for i in range(min(len(other[0]), 2 * _ROWS))]
    for which, x in enumerate(asked.inputs):
        count = x[0].numel() if x.is_floating_point() else SMALL + 1
        for entry in range(count if count <= SMALL else 0):
            seen = next((word for row in rows if (word := _seen(asked, row, which, entry)) != "unapplied"), "unapplied")
            low, high = (float(end[which].reshape(-1)[entry]) for end in (asked.low, asked.high))
            words = f"{low:.3g} to {high:.3g} changes nothing in {len(rows)} rows: not applied, or of no effect there"
            if seen == "late":
                words = f"{low:.3g} to {high:.3g} shows one call later; call twice and take the second"
            if seen != "at once":
                asked.find(seen, words, which, entry)
            elif read is not None and which == len(asked.inputs) - 1:
                _read_back(asked, read, which, entry)


def _seen(asked: Asked, row: tuple[Tensor, ...], which: int, entry: int) -> str:
    way, ends, _ = asked.number(row, which, entry)
    _, before, u, v, w = (asked.line(row, which, way, ends[end : end + 1]) for end in (0, 0, 0, 1, 1))
    usual = 3 * differs(before, u)
    if differs(u, v) > usual:
        return "at once"
    return "late" if not usual and differs(u, w) else "unapplied"


def _read_back(asked: Asked, read: Read, which: int, entry: int) -> None:
    way, ends, _ = asked.number(asked.row(0), which, entry)
    got = []
    for end in ends:
        asked.line(asked.row(0), which, way, end[None])
        got.append(float(read()[entry]))
    if got[0] == got[1]:
        asked.find("unapplied", f"set to either end it reads back {got[0]:.4g}: it is not applied", which, entry)
