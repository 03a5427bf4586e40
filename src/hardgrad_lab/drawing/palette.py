"""The colours of every figure: each stands for one of the page's own, which differ in light and in dark.

A figure is drawn once, in the colours of a light page. On a page each of them becomes a variable of its style sheet, so
that nothing is black on black; a test holds every figure to that, and the colours to their contrast and to how far
apart they look, also without one kind of cone.
"""

from __future__ import annotations

LIGHT_PAGE, DARK_PAGE = "#fdfdfb", "#15181b"
# Eight that stay apart for everybody: at least 3:1 on the page, and 15 apart in CIELAB as seen with normal sight and
# with protanopia, deuteranopia or tritanopia (Machado, Oliveira and Fernandes 2009). The first two are those of Okabe
# and Ito 2008; the others were searched for under these conditions.
COLOURS = ("#0072b2", "#d55e00", "#00a35a", "#c37aa1", "#933710", "#4817ff", "#64075c", "#5a5a5a")
DARK = ("#4da4ff", "#ff7a33", "#1fe08a", "#f5cdf0", "#a8623c", "#763ffb", "#a37fb0", "#92a68a")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 4)))
HATCHES = ("", "///", "...", "xxx")  # one for each time round the colours

INK = "#010203"  # the page's own text
FAINT = "#7c848b"  # lines that stand back: the truth, a grid
FAINT_TEXT = "#5d666e"  # words that stand back
MARK_TEXT = "#a33c01"  # words that warn

VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--soft)",
    FAINT_TEXT: "var(--faint)",
    MARK_TEXT: "var(--mark)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(COLOURS)},
}


def style_of(dark: bool) -> str:
    """Return the declarations that a page's style sheet needs for figures."""
    colours = DARK if dark else COLOURS
    soft = "#8a929a" if dark else FAINT
    return f"--soft: {soft}; " + " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))


def colour_of(i: int) -> str:
    """Return the colour of the i-th of many, such as a range; neighbours always differ."""
    return COLOURS[i % len(COLOURS)]


def hatch_of(i: int) -> str:
    """Return the pattern that tells the i-th of many from those of the same colour."""
    return HATCHES[i // len(COLOURS) % len(HATCHES)]


def dashes_of(i: int) -> object:
    """Return the dashes that tell the line of the i-th of many from those of the same colour."""
    return DASHES[i // len(COLOURS) % len(DASHES)]
