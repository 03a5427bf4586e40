"""The page that lists the pages of a folder, and the links by which they find each other."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardgrad_lab.drawing.render import Link, render
from hardgrad_lab.runs.atomic import write_text

INDEX = "index.html"
OURS = '<meta name="generator" content="hardgrad report">'
HEAD = 20_000  # letters of a page that hold its title
INTRODUCTION = "Every page of this folder stands by itself: it can be opened, sent or printed without the others."
DOCTOR = Path("..", "doctor", "report")  # where the doctor's pages are, seen from the other reports


def link_to_index(folder: Path) -> list[Link]:
    """Return the link to a folder's index; none where a file of somebody else has its name."""
    return [Link(text="All reports", href=INDEX, rel="up")] if _is_free(folder / INDEX) else []


def write_index(folder: Path, title: str, introduction: str, **table: Any) -> Path | None:
    """Write the index of a folder.

    Args:
        folder: of the pages.
        title: of the index.
        introduction: above the table.
        table: ``headings``, ``numeric``, ``rows`` and ``hrefs``, one a row; ``legend`` and ``links`` besides.

    Returns:
        The page; None where a file that this program did not write has its name, which is left alone.
    """
    if not _is_free(folder / INDEX):
        return None
    values = {"legend": "", "links": (), **table}
    text = render("index.html.jinja", title=title, introduction=introduction, **values)
    write_text(folder / INDEX, text)
    return folder / INDEX


def index_reports(folder: Path, source: str = "") -> Path | None:
    """List the reports that are in a folder, and the doctor's where they are in their usual place.

    Args:
        folder: of the reports.
        source: whose rows they show, in a line.
    """
    found = [
        (path.name, title) for path in sorted(folder.glob("*.html")) if path.name != INDEX and (title := _title(path))
    ]
    found.sort(key=lambda each: each[0] != "all.html")  # the whole paper comes first
    if (title := _title(folder / DOCTOR / INDEX)) is not None:
        found.append(((DOCTOR / INDEX).as_posix(), title))
    return write_index(
        folder,
        "Reports",
        INTRODUCTION,
        source=source,
        headings=("report", "file"),
        numeric=(),
        rows=[[title, name] for name, title in found],
        hrefs=[name for name, _ in found],
    )


def neighbours(names: Sequence[str], titles: Sequence[str], i: int) -> list[Link]:
    """Return links to the index, to the page before and to the page after the i-th of several."""
    found = [Link(text="All functions", href=INDEX, rel="up")]
    if i:
        found.append(Link(text=f"← {titles[i - 1]}", href=f"{names[i - 1]}.html", rel="prev"))
    if i + 1 < len(names):
        found.append(Link(text=f"{titles[i + 1]} →", href=f"{names[i + 1]}.html", rel="next"))
    return found


def _is_free(path: Path) -> bool:
    return not path.exists() or OURS in path.read_text(encoding="utf-8", errors="replace")[:HEAD]


def _title(path: Path) -> str | None:
    """Return the title of a page of ours; None for any other file."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")[:HEAD]
    found = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    return html.unescape(found[1]) if found and OURS in text else None
