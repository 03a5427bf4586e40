"""Figures as files (PNG and SVG) and as SVG that lives inside a page and follows its light or dark colours."""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from hardgrad_lab.drawing.layout import STYLE, Drawn, dress, grid_figure, legend, narrowed, new_figure, sized_figure
from hardgrad_lab.drawing.palette import COLOURS, DASHES, FAINT, FAINT_TEXT, INK, MARK_TEXT, VARIABLES
from hardgrad_lab.runs.atomic import write_atomically

__all__ = [
    "COLOURS",
    "DASHES",
    "FAINT",
    "FAINT_TEXT",
    "INK",
    "MARK_TEXT",
    "Drawn",
    "Inline",
    "compact_svg",
    "grid_figure",
    "inline",
    "inline_svg",
    "legend",
    "new_figure",
    "save_figure",
    "sized_figure",
]
PX = 100  # of a wide page, for an inch of a figure: letters of one size in all of them


@dataclass(frozen=True, kw_only=True)
class Inline:
    """A figure as it stands inside a page.

    Args:
        title: above it.
        caption: below it.
        wide: SVG for a screen.
        narrow: SVG for a telephone.
        width: px that the wide one fills at most.
    """

    title: str
    caption: str
    wide: str
    narrow: str
    width: int


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG.

    Args:
        figure: what to write.
        path: without a suffix.

    Returns:
        The PNG's path and the SVG's.
    """
    png, svg = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg"))  # a name may have dots of its own
    dress(figure)
    with mpl.rc_context(STYLE):
        write_atomically(png, lambda file: figure.savefig(file, format="png", dpi=150, facecolor="white"))
        write_atomically(
            svg, lambda file: figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})
        )
    return [png, svg]


def inline(figure: Drawn, title: str, caption: str, *, named: str = "") -> Inline:
    """Return a figure for a page, in a wide and a narrow form.

    Args:
        figure: what to draw.
        title: above it.
        caption: below it.
        named: what screen readers say, unique on the page; the title by default.
    """
    name = named or title
    return Inline(
        title=title,
        caption=caption,
        wide=inline_svg(figure, name),
        narrow=inline_svg(narrowed(figure), name, mark="narrow"),
        width=round(PX * figure.get_figwidth()),
    )


def inline_svg(figure: Figure, title: str, *, mark: str = "") -> str:
    """Return a figure as SVG to stand inside an HTML page, in the page's own colours.

    Args:
        figure: what to draw.
        title: said by screen readers.
        mark: tells the forms of one figure apart.

    Returns:
        An ``<svg>`` element that refers to nothing outside itself.
    """
    text = _svg(figure, title, transparent=True)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg\b[^>]*?)\swidth="[^"]*"\sheight="[^"]*"', r"\1", text, count=1)
    label = f'<svg role="img" aria-label="{html.escape(title)}"'
    text = _own_ids(text, title + mark).replace("<svg", label, 1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def compact_svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG file for documents, on white, without what only an editor of drawings needs.

    Args:
        figure: what to draw.
        title: its identifiers are marked with.
    """
    text = _svg(figure, title, facecolor="white")
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r">\s+<", "><", _own_ids(text, title)).replace(INK, "#1c2126") + "\n"


def _svg(figure: Figure, title: str, **given: Any) -> str:
    dress(figure)
    buffer = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        # The letters are drawn by who reads the page; that this machine's font lacks some changes nothing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None}, **given)
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]


def _own_ids(svg: str, title: str) -> str:
    """Drop ids that nothing refers to and mark the rest with the figure: one page must not hold an id twice."""
    mark = "f" + hashlib.sha256(title.encode()).hexdigest()[:7]  # short: every dot of a scatter repeats it
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda found: f' id="{mark}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(url\(|href=")#', rf"\g<1>#{mark}-", svg)
