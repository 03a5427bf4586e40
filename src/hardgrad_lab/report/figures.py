"""Figures as files (PNG and SVG) and as SVG that lives inside a page and follows its light or dark colours."""

from __future__ import annotations

import hashlib
import html
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from hardgrad_lab.runs.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Distinct without hue alone being relied on (Okabe and Ito 2008), and readable on white and on near-black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 4)))
INK = "#010203"  # stands for the page's own text colour; no figure uses it otherwise
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "hardgrad",
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels side by side, at most three in a row."""
    columns = min(panels, 3)
    lines = -(-panels // columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2 * columns + 0.4, 3.4 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for empty in axes.flat[panels:]:
        empty.set_axis_off()
    return figure, list(axes.flat[:panels])


def grid_figure(lines: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of lines of panels; those of a line share what is upright, those of a column what is level."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.4 * columns + 0.4, 2.6 * lines + 0.3), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False, sharex="col", sharey="row")
    return figure, [list(line) for line in axes]


def sized_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, with so many panels side by side that share nothing."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)
    return figure, list(axes.flat)


def legend(figure: Figure, axes: list[Axes]) -> None:
    """Put one legend for all panels below them, where it hides no line."""
    found: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    with mpl.rc_context(_STYLE):
        # A letter of 9 points is about 0.065 inch wide, the line beside it 0.6 inch.
        widest = 0.6 + 0.065 * max(map(len, found), default=0)
        columns = max(1, min(len(found), int(figure.get_figwidth() / widest)))
        figure.set_figheight(figure.get_figheight() + 0.21 * -(-len(found) // columns))
        figure.legend(
            list(found.values()), list(found), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG.

    Args:
        figure: what to write.
        path: without a suffix.

    Returns:
        The PNG's path and the SVG's.
    """
    png, svg = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg"))  # a name may have dots of its own
    with mpl.rc_context(_STYLE):
        write_atomically(png, lambda file: figure.savefig(file, format="png", dpi=150, facecolor="white"))
        write_atomically(
            svg, lambda file: figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})
        )
    return [png, svg]


def inline_svg(figure: Figure, title: str) -> str:
    """Return a figure as SVG to stand inside an HTML page, in the page's own text colour.

    Args:
        figure: what to draw.
        title: said by screen readers.

    Returns:
        An ``<svg>`` element that refers to nothing outside itself.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg\b[^>]*?)\swidth="[^"]*"\sheight="[^"]*"', r"\1", text, count=1)
    label = f'<svg role="img" aria-label="{html.escape(title)}"'
    return _own_ids(text, title).replace(INK, "currentColor").replace("<svg", label, 1)


def compact_svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG file for documents, on white, without what only an editor of drawings needs.

    Args:
        figure: what to draw.
        title: its identifiers are marked with.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    text = buffer.getvalue().decode()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r">\s+<", "><", _own_ids(text, title)).replace(INK, "#1c2126") + "\n"


def _own_ids(svg: str, title: str) -> str:
    """Drop ids that nothing refers to and mark the rest with the figure: one page must not hold an id twice."""
    mark = "f" + hashlib.sha256(title.encode()).hexdigest()[:7]  # short: every dot of a scatter repeats it
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda found: f' id="{mark}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(url\(|href=")#', rf"\g<1>#{mark}-", svg)
