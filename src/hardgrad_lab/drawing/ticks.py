"""Numbers beside an axis: written out whole, with k and M for the large; never as a difference to some other number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.axis import XAxis
from matplotlib.ticker import LogFormatter, LogFormatterSciNotation, LogLocator, ScalarFormatter

if TYPE_CHECKING:
    from matplotlib.axis import Axis

DECADES = 5  # numbers on a level logarithmic axis: more run into each other
UNITS = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))  # from what on, divided by what, called what
MINUS = "\N{MINUS SIGN}"


def plain(values: Sequence[float]) -> list[str]:
    """Return the numbers of one axis in words: the same unit and the same decimals for all, as few as tell them apart.

    Example:
        >>> plain([0, 100_000, 200_000])
        ['0', '100k', '200k']
        >>> plain([23.505, 23.510])
        ['23.505', '23.510']
    """
    biggest = max((abs(value) for value in values), default=0.0)
    if not math.isfinite(biggest) or 0 < biggest < 1e-3:
        return [_short(value) for value in values]
    unit, name = next(((unit, name) for least, unit, name in UNITS if biggest >= least), (1.0, ""))
    scaled = [value / unit for value in values]
    gaps = [abs(b - a) for a, b in pairwise(scaled) if b != a]
    near = 1e-3 * min(gaps, default=biggest / unit)
    decimals = next((d for d in range(13) if all(abs(round(value, d) - value) <= near for value in scaled)), 13)
    return [_signed(f"{value:.{decimals}f}") + (name if value else "") for value in scaled]


def _short(value: float) -> str:
    """Return a small number alone, such as 2e-4; what a table would print."""
    digits, _, power = f"{value:.3e}".partition("e")
    return _signed(f"{float(digits):g}") + (f"e{int(power)}" if float(digits) else "")


def _signed(text: str) -> str:
    bare = text.removeprefix("-")
    return bare if not bare.strip("0.") else text.replace("-", MINUS)


class Plain(ScalarFormatter):
    """Write the numbers of a linear axis with ``plain``."""

    def __init__(self) -> None:
        super().__init__(useOffset=False)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        return plain([float(value) for value in values])


class PlainLog(LogFormatter):
    """Write those numbers of a logarithmic axis that matplotlib would write, each by itself."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        if not super().__call__(x, pos):
            return ""
        return _short(x) if abs(x) < 1e-3 else plain([x])[0]


def write_out(axis: Axis) -> None:
    """Give an axis the plain numbers, unless somebody gave it words of its own."""
    formatter, minor = axis.get_major_formatter(), axis.get_minor_formatter()
    if type(formatter) is ScalarFormatter:
        axis.set_major_formatter(Plain())
    if isinstance(formatter, LogFormatterSciNotation):
        if isinstance(axis, XAxis):
            axis.set_major_locator(LogLocator(numticks=DECADES))
        axis.set_major_formatter(PlainLog())
    if isinstance(minor, LogFormatterSciNotation):
        axis.set_minor_formatter(PlainLog(labelOnlyBase=minor.labelOnlyBase))
