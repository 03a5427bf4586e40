"""How wide the stairs of each input are, hence how wide a difference must be that sees over them.

Along a line a difference over 2 s is held against its own average over the points within s. Of a smooth function both
are alike at any s; over stairs only where s is as wide as they are. The least such s is the scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, OutOfTimeError

STEPS = 64  # of a line over the range
_WIDTHS = (1, 2, 3, 4, 6, 8, 10, 12)  # of half a difference, in steps
_WIDEST = 16
_ALIKE = 0.95
_FLAT = 0.3  # of the steps, from which they are stairs if there are jumps
_LINES = 3  # of a large input, each along random signs of all its numbers
_WORDS = "stairs {:.3g} wide; over less, a difference sees nothing or a jump"
_JUMP = 0.5  # of the change over a step, still there over 1/4096 of it


def scales(asked: Asked, which: int) -> Tensor:
    """Return a scale for each number of a row of an input, and note the stairs."""
    low, high = asked.low[which], asked.high[which]
    found = ((high - low) / STEPS).clone()
    if found.numel() > SMALL:
        return found.fill_(_of_many(asked, which, float((high - low).max()) / 2))
    for entry in range(found.numel()):
        row = asked.row(entry)
        a, b, at = asked.ends(row, which, entry)
        try:
            scale, width, bad = look(asked, row, which, asked.way_of(which, entry), a - at, b - at)
        except OutOfTimeError:
            asked.left_out.append(f"stairs of input {which} from number {entry} on (no time)")
            break
        found.view(-1)[entry] = scale
        if width:
            asked.find("stairs", _WORDS.format(width), which, entry, width)
        if len(bad):
            kind, what = ("raises", asked.error) if asked.error else ("nan", "the output is NaN or infinite")
            where = f"from {at + float(bad[0]):.3g} to {at + float(bad[-1]):.3g}; keep it out by low= and high="
            asked.find(kind, f"{what}, {where}", which, entry, len(bad) / (STEPS + 1))
    return found


def _of_many(asked: Asked, which: int, span: float) -> float:
    """One scale for all numbers, moved together."""
    seen = []
    for line in range(_LINES):
        signs = torch.randint(0, 2, asked.low[which].shape, generator=asked.generator).to(asked.low[which]) * 2 - 1
        seen.append(look(asked, asked.row(line), which, signs, -span / 2, span / 2))
    scale, width, _ = sorted(seen, key=lambda line: line[0])[_LINES // 2]
    if width:
        asked.find("stairs", _WORDS.format(width), which, None, width)
    return scale


def look(
    asked: Asked, row: tuple[Tensor, ...], which: int, way: Tensor, begin: float, end: float
) -> tuple[float, float | None, Tensor]:
    """Return the scale along a way, the width of its stairs if there are any, and where the output is no number."""
    asked.error = ""
    places = torch.linspace(begin, end, STEPS + 1, dtype=torch.float64)
    y = asked.line(row, which, way, places)
    good = y.isfinite().all(1)
    bad = places[~good]
    y, places, step = y[good], places[good], (end - begin) / STEPS
    change = y.diff(dim=0)
    if not bool(change.any()):
        return step, None, bad
    least = next((s for s in _WIDTHS if alike(y, s) >= _ALIKE), _WIDEST)
    top = int(change.abs().max(0).values.argmax())
    at = int(change[:, top].abs().argmax())
    if (least == 1 and _flat(change) < _FLAT) or not _jumps(asked, row, which, way, places[at : at + 2], top):
        return step * least, None, bad
    if asked.kind in ("random", "unseeded"):
        return step * least, None, bad
    width = step * stair(change)
    return max(step * least, width), width, bad


def alike(y: Tensor, s: int) -> float:
    """Return the cosine of differences over 2 s steps with their average over the points within s."""
    d = y[2 * s :] - y[: -2 * s]
    total = torch.cat([torch.zeros_like(y[:1]), d.cumsum(0)])
    mean, inner = total[2 * s + 1 :] - total[: -2 * s - 1], d[s : len(d) - s]
    return float((inner * mean).sum() / (inner.norm() * mean.norm()).clamp(min=1e-30))


def _flat(change: Tensor) -> float:
    """Return the share of steps without any change, of outputs weighted by how much they change on the whole."""
    weight = change.abs().sum(0)
    return float(((change == 0).double().mean(0) * weight).sum() / weight.sum())


def stair(change: Tensor) -> float:
    """Return the width in steps of the stair that a point is on, on average, in the middle one of eight outputs."""
    least = (0.0 if _flat(change) >= _FLAT else 0.5) * change.abs().max(0).values
    widths, moved = [], change.abs().sum(0)
    for j in moved.argsort(descending=True)[: min(8, int((moved > 0).sum()))].tolist():
        gaps = (change[:, j].abs() > least[j]).nonzero().flatten().double().diff()
        widths.append(float(gaps.square().sum() / gaps.sum()) if len(gaps) else float(len(change)))
    return sorted(widths)[len(widths) // 2]


def _jumps(asked: Asked, row: tuple[Tensor, ...], which: int, way: Tensor, ends: Tensor, output: int) -> bool:
    """Whether the change between two places stays one however near they are."""
    sizes = []
    for _ in range(3):
        places = torch.linspace(float(ends[0]), float(ends[1]), 17, dtype=torch.float64)
        change = asked.line(row, which, way, places)[:, output].diff().abs()
        sizes.append(float(change.max()))
        ends = places[int(change.argmax()) :][:2]
    return sizes[-1] > _JUMP * sizes[0]
