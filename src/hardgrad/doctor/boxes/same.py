"""Whether a box gives the same for the same, in another call, batch or thread, and applies what it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, OutOfTimeError, Row, as_tensor, differs

_AGAIN = 8  # calls with one input, to tell a state that settles or drifts from chance
_ROWS = 3  # of the user's, in which a number may show
_WORK = 0.01  # seconds, in which the start of a thread does not show
Read = Callable[[], Sequence[Any]]


def repeats(asked: Asked) -> None:
    """Ask A, A, then B and A: what changes is a state, or random numbers, which seeds reach or not."""
    first, second = asked(*asked.inputs), asked(*asked.inputs)
    asked.elsewhere()
    after = asked(*asked.inputs)
    size = max(differs(first, second), differs(second, after))
    seeds = 0.0 if size else differs(after, asked(*asked.inputs, seed=1))
    words = ""
    if seeds:
        asked.kind, words = "random", f"two random seeds differ by {seeds:.1%} of the output; take several samples"
    elif size and _is_state(asked, after):
        asked.kind = "state"
        words = f"what it was given before changes the output by {size:.1%}; let it begin anew at each call"
    elif size:
        asked.kind, words = "unseeded", f"the same input differs by {size:.1%} of the output, and no seed reaches it"
    if asked.kind != "same":
        asked.find("state" if asked.kind == "state" else "random", words, value=size or seeds)


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
    one, near, far = asked.row(-1), *(tuple(x[:1] for x in asked.elsewhere()) for _ in range(2))

    def last(*batch: Row, at: int = -1) -> Tensor:
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
        count = x[0].numel() if x.is_floating_point() and x[0].numel() <= SMALL else 0
        held = read if which == len(asked.inputs) - 1 else None
        for entry in range(count):
            seen = (_seen(asked, row, which, entry, held) for row in rows)
            nothing = ("unapplied", f"changes nothing in {len(rows)} rows: not applied, or of no effect there")
            kind, words = next((found for found in seen if found[0] != "unapplied"), nothing)
            if kind != "at once":
                low, high = (float(end[which].reshape(-1)[entry]) for end in (asked.low, asked.high))
                kind = "late" if kind == "late" else "unapplied"
                asked.find(kind, f"from {low:.3g} to {high:.3g} it {words}", which, entry)


def _seen(asked: Asked, row: Row, which: int, entry: int, read: Read | None) -> tuple[str, str]:
    way, ends, _ = asked.number(row, which, entry)
    _, before, u = [asked.line(row, which, way, ends[:1]) for _ in range(3)]
    low = float(read()[entry]) if read else 0.0
    v, w = [asked.line(row, which, way, ends[1:]) for _ in range(2)]
    usual = 3 * differs(before, u)
    if read and low == float(read()[entry]):
        return "held", f"is not applied, and reads back {low:.4g} at both"
    if differs(u, v) > usual:
        return "at once", ""
    if not usual and differs(u, w):
        return "late", "shows one call later; call twice and take the second"
    return "unapplied", ""


def threads(asked: Asked, factory: Callable[[], Callable[..., Any]]) -> str:
    """Return what two boxes in threads gain over one after the other, in words; note if they give other outputs."""
    boxes = [factory(), factory()]

    def work(box: Callable[..., Any], times: int) -> Tensor:
        with torch.no_grad():  # which each thread has for itself
            made = [box(*asked.copies(asked.inputs)) for _ in range(times)]
        return as_tensor("box must return", made[-1])

    def taken(mapped: Any, times: int) -> tuple[float, list[Tensor]]:
        start = time.perf_counter()
        ys = [*mapped(work, boxes, [times] * 2)]
        return time.perf_counter() - start, ys

    seconds, usual = taken(map, 1)
    times = max(1, min(1000, int(_WORK / seconds)))
    if 6 * times * seconds > asked.deadline - time.perf_counter():
        raise OutOfTimeError
    with ThreadPoolExecutor(2) as pool:
        turns = [(taken(map, times), taken(pool.map, times)) for _ in range(3)]
    size = max(differs(a, b) for _, (_, ys) in turns for a, b in zip(usual, ys, strict=True))
    if size and asked.kind == "same":
        asked.find(
            "threads", f"two in threads differ by {size:.1%} from one after the other; use processes", value=size
        )
    gain = min(turn[0][0] for turn in turns) / min(turn[1][0] for turn in turns)
    cure = "threads will do" if gain > 1.5 else "to run rows at once give hg.BlackBox workers, which are processes"
    return f"Two in threads are {gain:.1f} times as fast as one after the other: {cure}."
