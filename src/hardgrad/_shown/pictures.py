"""Small pictures for a cell or a paragraph of a notebook: inline SVG that light and dark pages both show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardgrad._shown.page import escaped

COLOR = "#3c82c4"  # at least 3 to 1 against white and against what dark notebooks are made of
_TRACK = 'fill="currentColor" opacity=".15"'
_MOST = 120  # places of a line, or bars


def bar(share: float | None) -> str:
    """Return a bar of which a share is full, for a cell whose text says the number; nothing for no number."""
    if share is None or not math.isfinite(share):
        return ""
    full = 48 * min(max(share, 0.0), 1.0)
    return (
        f'<svg width="48" height="8" aria-hidden="true"><rect width="48" height="8" {_TRACK}/>'
        f'<rect width="{full:.3g}" height="8" fill="{COLOR}"/></svg>'
    )


def line(values: Sequence[float | None], width: int = 96, height: int = 20, said: str = "") -> str:
    """Return values over time as a line, in gaps where there is none.

    Args:
        values: in the order of time.
        width, height: in pixels.
        said: the same in words, for those who hear the page; without, the picture is decoration.
    """
    values = _thinned(values)
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    pieces: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pieces.append([])
            continue
        x = 2 + (width - 4) * (i / (len(values) - 1) if len(values) > 1 else 0.5)
        y = height / 2 if high == low else 2 + (height - 4) * (1 - (value - low) / span)
        pieces[-1].append(f"{x:.1f} {y:.1f}")
    path = "".join("M" + "L".join(piece if len(piece) > 1 else piece * 2) for piece in pieces if piece)
    drawn = f'<path d="{path}" fill="none" stroke="{COLOR}" stroke-width="2" stroke-linecap="round"/>'
    return _svg(width, height, drawn, said)


def bars(values: Sequence[float], width: int = 240, height: int = 32, said: str = "") -> str:
    """Return bars beside each other, from 0; of many values some."""
    values = [value for value in _thinned(values) if value is not None]
    most = max(values, default=0.0)
    if most <= 0:
        return ""
    each = width / len(values)
    drawn = "".join(
        f'<rect x="{i * each:.1f}" y="{height * (1 - value / most):.1f}" width="{max(each - 1, 0.5):.1f}" '
        f'height="{height * value / most:.1f}"/>'
        for i, value in enumerate(values)
        if value > 0
    )
    ground = f'<rect y="{height - 1}" width="{width}" height="1" {_TRACK}/>'
    return _svg(width, height, f'{ground}<g fill="{COLOR}">{drawn}</g>', said)


def axis(
    low: float,
    high: float,
    marks: Sequence[float],
    intervals: Sequence[tuple[float, float]] | None = None,
    said: str = "",
) -> str:
    """Return a stretch of numbers with marks on it, and an interval around each."""
    width, height, span = 320, 16, (high - low) or 1.0

    def x(value: float) -> float:
        return 1 + (width - 2) * min(max((value - low) / span, 0.0), 1.0)

    parts = [f'<rect y="6" width="{width}" height="4" {_TRACK}/>']
    for begin, end in intervals or ():
        drawn = max(x(end) - x(begin), 1.0)
        parts.append(f'<rect x="{x(begin):.1f}" y="4" width="{drawn:.1f}" height="8" fill="{COLOR}" opacity=".5"/>')
    parts += [f'<rect x="{x(mark) - 1:.1f}" width="2" height="{height}" fill="{COLOR}"/>' for mark in marks]
    return _svg(width, height, "".join(parts), said)


def _svg(width: int, height: int, drawn: str, said: str) -> str:
    role = f'role="img" aria-label="{escaped(said)}"' if said else 'aria-hidden="true"'
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f"<svg {size} {role}>{drawn}</svg>"


def _thinned(values: Sequence[float | None]) -> Sequence[float | None]:
    if len(values) <= _MOST:
        return values
    return [values[round(i * (len(values) - 1) / (_MOST - 1))] for i in range(_MOST)]
