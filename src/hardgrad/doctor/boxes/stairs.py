"""How wide the stairs of each input are, hence how wide a difference must be that sees over them.

Along a line of one number, a difference over 2 s is held against its own average over the points within s. Of a smooth
function both are alike at any s; over stairs only where s is as wide as they are. The least such s is the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked
from hardgrad.doctor.boxes.report import Finding

_STEPS = 64  # of a line over the range
_WIDTHS = (1, 2, 3, 4, 6, 8, 10, 12)  # of half a difference, in steps
_ALIKE = 0.95
_SAMPLE = 8  # numbers of a large input that are looked at
_JUMP = 0.5  # of the change over a step, still there over 1/4096 of it


@dataclass(frozen=True)
class Line:
    """What was seen along one number of an input: a scale, how wide the stairs are, and whether they are stairs."""

    scale: float
    width: float | None
    moved: bool


def scales(asked: Asked, which: int) -> tuple[Tensor, list[Finding]]:
    """Return a scale for each number of a row of an input, and the stairs that were found."""
    x = asked.inputs[which]
    count = x[0].numel()
    chosen = (
        range(count) if count <= SMALL // 2 else torch.randperm(count, generator=asked.generator)[:_SAMPLE].tolist()
    )
    lines = {entry: look(asked, which, entry) for entry in chosen}
    usual = (asked.high[which] - asked.low[which]).flatten() / _STEPS
    found = torch.full((count,), float(usual.median())) if len(lines) < count else usual.clone()
    stairs = {entry: line.width for entry, line in lines.items() if line.width is not None}
    if len(lines) < count:
        moved = sorted(line.scale for line in lines.values() if line.moved)
        found.fill_(moved[len(moved) // 2] if moved else float(usual.median()))
        return found.view(x.shape[1:]), _one_for_all(which, sorted(stairs.values()), len(lines))
    for entry, line in lines.items():
        found[entry] = line.scale
    words = "stairs {:.3g} wide; a difference over less sees nothing, or a jump"
    return found.view(x.shape[1:]), [Finding("stairs", words.format(w), which, i, w) for i, w in stairs.items()]


def _one_for_all(which: int, widths: list[float], looked: int) -> list[Finding]:
    if len(widths) * 2 <= looked:
        return []
    width = widths[len(widths) // 2]
    words = (
        f"stairs {width:.3g} wide, in {len(widths)} of {looked} numbers looked at; a difference over less sees nothing"
    )
    return [Finding("stairs", words, which, None, width)]


def look(asked: Asked, which: int, entry: int) -> Line:
    """Look along the range of one number."""
    low, high = asked.ends(which, entry)
    row = asked.row(entry % len(asked.inputs[0]))
    values = torch.linspace(low, high, _STEPS + 1, dtype=torch.float64)
    y = asked.line(row, which, entry, values)
    step = (high - low) / _STEPS
    y = y[:, y.isfinite().all(0)]
    change = y.diff(dim=0)
    if not change.numel() or not bool(change.any()):
        return Line(step, None, False)
    least = next((s for s in _WIDTHS if alike(y, s) >= _ALIKE), 16)
    if least == 1 and _flat(change) < 0.3:
        return Line(step, None, True)
    j = int(change.abs().max(0).values.argmax())
    at = int(change[:, j].abs().argmax())
    if not _jumps(asked, row, which, entry, values[at : at + 2], j):
        return Line(step * least, None, True)
    width = step * stair(change)
    return Line(max(step * least, width), width, True)


def alike(y: Tensor, s: int) -> float:
    """Return the cosine of differences over 2 s steps with their average over the points within s."""
    d = y[2 * s :] - y[: -2 * s]
    total = torch.cat([torch.zeros_like(d[:1]), d.cumsum(0)])
    mean = (total[2 * s + 1 :] - total[: -2 * s - 1]) / (2 * s + 1)
    inner = d[s : len(d) - s]
    return float((inner * mean).sum() / (inner.norm() * mean.norm()).clamp(min=1e-30))


def _flat(change: Tensor) -> float:
    """Share of steps without any change, of outputs that change somewhere, by how much they do."""
    weight = change.abs().sum(0)
    return float(((change == 0).double().mean(0) * weight).sum() / weight.sum())


def stair(change: Tensor) -> float:
    """Return the width of the stairs in steps: the stair that a point is on, on average, in the middle output."""
    level = 0.0 if _flat(change) >= 0.3 else 0.5
    jumps = change.abs() > level * change.abs().max(0).values
    widths = []
    for j in change.abs().sum(0).argsort(descending=True)[:_SAMPLE].tolist():
        at = jumps[:, j].nonzero().flatten().double()
        gaps = at.diff()
        widths.append(float(gaps.square().sum() / gaps.sum()) if len(gaps) else float(len(change)))
    return sorted(widths)[len(widths) // 2]


def _jumps(asked: Asked, row: tuple[Tensor, ...], which: int, entry: int, ends: Tensor, output: int) -> bool:
    """Whether the change between two values stays one however near they are."""
    first = None
    for _ in range(3):
        values = torch.linspace(float(ends[0]), float(ends[1]), 17, dtype=torch.float64)
        y = asked.line(row, which, entry, values)
        change = y[:, min(output, y.shape[1] - 1)].diff().abs()
        first = first if first is not None else float(change.sum())
        at = int(change.argmax())
        ends = values[at : at + 2]
    return float(change.max()) > _JUMP * (first or 0.0)
