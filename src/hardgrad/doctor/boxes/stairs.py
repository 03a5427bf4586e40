"""How wide the stairs of each input are, hence how wide a difference must be that sees over them.

Along a line a difference over 2 s is held against its own average over the points within s. Of a smooth function both
are alike at any s; over stairs only where s is as wide as they are. The least such s is the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, OutOfTimeError

STEPS = 64  # of a line over the range
_WIDTHS = (1, 2, 3, 4, 6, 8, 10, 12)  # of half a difference, in steps
_WIDEST = 16  # a quarter of the line: beyond, both sides of most points lie outside
_ALIKE = 0.95
_FLAT = 0.3  # of the steps, from which they are stairs if there are jumps
_LINES = 3  # of a large input, each along random signs of all its numbers
_ROUNDING = 1e-6  # of the largest output: below, a change is single precision alone
_JUMP = 0.5  # of the change over a step, still there over 1/256 of it

Line = Callable[[Tensor], Tensor]  # from n places to the outputs (n, m) there


def scales(asked: Asked, which: int) -> Tensor:
    """Return a scale for each number of a row of an input, and note the stairs."""
    low, high = asked.low[which], asked.high[which]
    found = ((high - low) / STEPS).clone()
    if found.numel() > SMALL:
        return found.fill_(_of_many(asked, which, float((high - low).max()) / 4))
    for entry in range(found.numel()):
        row, asked.error = asked.row(entry), ""
        way, ends, at = asked.number(row, which, entry)
        try:
            found.view(-1)[entry], width, bad = look(partial(asked.line, row, which, way), *ends.tolist())
        except OutOfTimeError:
            asked.left_out.append(f"stairs of input {which} from number {entry} on (no time)")
            break
        _note(asked, width, which, entry)
        if len(bad):
            kind, what = ("raises", asked.error) if asked.error else ("nan", "the output is NaN or infinite")
            where = f"from {at + float(bad[0]):.3g} to {at + float(bad[-1]):.3g}; keep it out by low= and high="
            asked.find(kind, f"{what}, {where}", which, entry, len(bad) / (STEPS + 1))
    return found


def _of_many(asked: Asked, which: int, end: float) -> float:
    """One scale for all numbers, moved together."""
    seen = []
    for i in range(_LINES):
        signs = torch.randint(0, 2, asked.low[which].shape, generator=asked.generator).to(asked.low[which]) * 2 - 1
        seen.append(look(partial(asked.line, asked.row(i), which, signs), -end, end)[:2])
    scale, width = sorted(seen)[_LINES // 2]
    _note(asked, width, which, None)
    return scale


def _note(asked: Asked, width: float, which: int, entry: int | None) -> None:
    if width and asked.kind not in ("random", "unseeded"):  # where each output is another, each step is a jump
        words = f"it jumps every {width:.3g}" if width < math.inf else "it jumps once in its range"
        words += "; over less, a difference sees nothing or a jump"
        asked.find("stairs", words, which, entry, width if width < math.inf else None)


def look(line: Line, begin: float, end: float) -> tuple[float, float, Tensor]:
    """Return the scale along a line, the width of its stairs, and places where the output is no number.

    The width is 0 where there are none, and infinite if there is one jump.
    """
    places, step = torch.linspace(begin, end, STEPS + 1, dtype=torch.float64), (end - begin) / STEPS
    y = line(places)
    good = y.isfinite().all(1)
    bad, places, change = places[~good], places[good], y[good].diff(dim=0)
    if not len(change) or not bool((change.abs() > _ROUNDING * y[good].abs().amax(0)).any()):
        return step, 0.0, bad
    least = next((s for s in _WIDTHS if alike(y[good], s) >= _ALIKE), _WIDEST)
    top = int(change.abs().max(0).values.argmax())
    at = int(change[:, top].abs().argmax())
    if not _jumps(line, places[at : at + 2], top):
        return step * least, 0.0, bad
    if least > 1 or flat(change) >= _FLAT:
        width = step * stair(change)
        return min(max(least, width / step), _WIDEST) * step, width, bad
    change = line(torch.linspace(float(places[at]), float(places[at + 1]), STEPS + 1, dtype=torch.float64)).diff(dim=0)
    fine = step / STEPS * stair(change) if flat(change) >= _FLAT else 0.0
    return step, fine if fine < math.inf else 0.0, bad


def alike(y: Tensor, s: int) -> float:
    """Return the cosine of differences over 2 s steps with their average over the points within s."""
    d = y[2 * s :] - y[: -2 * s]
    total = torch.cat([torch.zeros_like(y[:1]), d.cumsum(0)])
    mean, inner = total[2 * s + 1 :] - total[: -2 * s - 1], d[s : len(d) - s]
    return float((inner * mean).sum() / (inner.norm() * mean.norm()).clamp(min=1e-30))


def flat(change: Tensor) -> float:
    """Return the share of steps without any change, of outputs weighted by how much they change on the whole."""
    weight = change.abs().sum(0)
    return float(((change == 0).double().mean(0) * weight).sum() / weight.sum().clamp(min=1e-300))


def stair(change: Tensor) -> float:
    """Return the width in steps of the stair that a point is on, on average; infinity where there is one jump.

    It is that of the middle one of eight outputs; where each jumps once at most, that of all of them together.
    """
    jumps = change.abs() > (0.0 if flat(change) >= _FLAT else 0.5) * change.abs().max(0).values
    chosen = change.abs().sum(0).argsort(descending=True)[:8]
    widths = [width for j in chosen.tolist() if (width := _width(jumps[:, j])) < math.inf]
    return sorted(widths)[len(widths) // 2] if widths else _width(jumps.any(1))


def _width(jumps: Tensor) -> float:
    gaps = jumps.nonzero().flatten().double().diff()
    return float(gaps.square().sum() / gaps.sum()) if len(gaps) else math.inf


def _jumps(line: Line, ends: Tensor, output: int) -> bool:
    """Whether the change between two places stays one however near they are."""
    sizes = []
    for _ in range(3):
        places = torch.linspace(float(ends[0]), float(ends[1]), 17, dtype=torch.float64)
        change = line(places)[:, output].diff().abs()
        sizes.append(float(change.max()))
        ends = places[int(change.argmax()) :][:2]
    return sizes[-1] > _JUMP * sizes[0]
