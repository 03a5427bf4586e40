"""Whether each number of a small input is applied, and at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hardgrad.doctor.boxes.asked import SMALL, Asked, differs
from hardgrad.doctor.boxes.report import Finding

_ROWS = 4  # of the user's, in which a number may show
Read = Callable[[], Sequence[Any]]


def applied(asked: Asked, read: Read | None) -> list[Finding]:
    """Ask each number of each small input at both ends of its range."""
    found = []
    for which, x in enumerate(asked.inputs):
        count = x[0].numel()
        if x.is_floating_point() and count <= SMALL:
            found += [finding for entry in range(count) for finding in _one(asked, which, entry)]
    if read is not None:
        found += _read_back(asked, read)
    return found


def _one(asked: Asked, which: int, entry: int) -> list[Finding]:
    rows = [asked.row(r) for r in range(min(len(asked.inputs[0]), _ROWS))]
    rows += [tuple(x[:1] for x in asked.elsewhere())]
    seen = [_seen(asked, row, which, entry) for row in rows[:1]]
    while seen[-1] == "unapplied" and len(seen) < len(rows):
        seen.append(_seen(asked, rows[len(seen)], which, entry))
    low, high = asked.ends(which, entry)
    if seen[-1] == "late":
        words = f"a change from {low:.3g} to {high:.3g} shows one call later; call twice, and take the second"
        return [Finding("late", words, which, entry, 1)]
    if seen[-1] == "unapplied":
        words = f"from {low:.3g} to {high:.3g} nothing changes, in {len(rows)} rows: it is not applied"
        return [Finding("unapplied", words, which, entry)]
    return []


def _seen(asked: Asked, row: tuple[torch.Tensor, ...], which: int, entry: int) -> str:
    low, high = (torch.tensor([end]) for end in asked.ends(which, entry))
    _, before, u, v, w = (asked.line(row, which, entry, end) for end in (low, low, low, high, high))
    usual = 3 * differs(before, u)
    if differs(u, v) > usual:
        return "at once"
    return "late" if differs(u, w) > usual and not usual else "unapplied"


def _read_back(asked: Asked, read: Read) -> list[Finding]:
    which, row = len(asked.inputs) - 1, asked.row(0)
    found = []
    for entry in range(asked.inputs[which][0].numel()):
        got = []
        for end in asked.ends(which, entry):
            asked.line(row, which, entry, torch.tensor([end]))
            got.append(float(read()[entry]))
        if got[0] == got[1]:
            words = f"set to either end of its range, it reads back {got[0]:.4g}: it is not applied"
            found.append(Finding("unapplied", words, which, entry))
    return found
