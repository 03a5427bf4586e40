"""The numbers and the picture of docs/choose.md: python docs/scripts/choose.py.

A number of the page stands before a comment that says where it is from, ``0.34<!-- SOURCE / ROW / COLUMN -->``, and is
written anew from there. A source is ``doctor CASE``, a record of the doctor; ``table NAME``, a table of ``tables.py``;
or ``page HEADING``, the first table below a heading of docs/evidence that begins so. A row is its first cell, or
several of its first cells joined by `` + ``.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path

from hardgrad_lab.doctor.page.table import HEADINGS, lines
from hardgrad_lab.doctor.record import Examination, load_all

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "choose.md"
NUMBER = re.compile(r"([^\s|()\[\]]+)<!-- (doctor|table|page) (.+?) / (.+?) / (.+?) -->")
TABLES = runpy.run_path(str(Path(__file__).with_name("tables.py")))["table"]


def written(text: str) -> str:
    """Return the page with every number as its source has it."""
    return NUMBER.sub(lambda n: f"{number(*n.group(2, 3, 4, 5))}{n[0][len(n[1]) :]}", text)


def number(kind: str, name: str, row: str, column: str) -> str:
    """Return a number as the page has it: without its deviation, its range and its marks.

    Raises:
        KeyError: if the source has no such row or column.
    """
    makers: dict[str, Callable[[str], list[list[str]]]] = {"doctor": diagnosed, "table": tabled, "page": paged}
    head, *rows = makers[kind](name)
    wanted = row.split(" + ")
    for cells in rows:
        if cells[: len(wanted)] == wanted:
            cell = dict(zip(head, cells, strict=False))[column].replace("*", "").replace("< ", "<")
            return cell.split()[0]
    raise KeyError(f"{kind} {name} has no row {row!r}")


@cache
def records() -> dict[str, Examination]:
    """Return all records of the doctor's bank."""
    return load_all(DOCS.parent / "results" / "doctor")


def diagnosed(case: str) -> list[list[str]]:
    """Return the table of a record of the doctor."""
    return [list(HEADINGS), *(line.cells for line in lines(records()[case].diagnosis))]


@cache
def tabled(name: str) -> list[list[str]]:
    """Return a table of tables.py."""
    return cells_of(TABLES(name))


def paged(heading: str) -> list[list[str]]:
    """Return the first table below a heading that begins so, of the pages of evidence.

    Raises:
        KeyError: if no page has it.
    """
    for page in sorted((DOCS / "evidence").glob("*.md")):
        _, found, below = page.read_text(encoding="utf-8").partition(f"\n## {heading}")
        if found and (table := re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)):
            return cells_of(table[0])
    raise KeyError(f"no page of docs/evidence has a table below a heading {heading!r}")


def cells_of(table: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its rule."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    return [lines[0], *lines[2:]]


# ------------------------------------------------------------------------------------------------ the picture

QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("Torch differentiates it,", "and not to zero?", "use it as it is"),
    ("Each number by itself?", "sign, round, quantize", "straight_through"),
    ("A choice in a row?", "argmax, mask of k", "straight_through", "with a soft twin"),
    ("An order?", "ranks, ranking metrics", "soft, losses"),
    ("The nearest code?", "VQ-VAE, k-means", "Codebook"),
    ("A draw, many evaluations,", "or a loss without slope?", "exact,", "score_function"),
    ("A draw, one evaluation,", "and the loss has a slope?", "reinmax"),
    ("A program?", "NumPy, plug-in, command", "BlackBox, then", "doctor.examine"),
    ("A solver?", "path, assignment", "fenchel_young,", "negative identity"),
    ("A threshold on a number?", "other rules on each side", "Switch"),
    ("A device with a state?", "compressor, gate", "Compressor, Gate"),
)
STYLE = """
text { font: 13px sans-serif; fill: #1c2126 } .d { fill: #55606a } .n { font-weight: bold; fill: #005a8c }
.g { fill: #fff } .q { fill: #eef1f4; stroke: #7c848b } .a { fill: #e2eff8; stroke: #0072b2 }
.l { stroke: #7c848b; fill: none } .h { fill: #7c848b }
@media (prefers-color-scheme: dark) {
text { fill: #e8eaec } .d { fill: #b4bcc4 } .n { fill: #9fd0ff } .g { fill: #15181b }
.q { fill: #23282d; stroke: #8a929a } .a { fill: #16303f; stroke: #4da4ff } }
"""
WIDTH, HIGH, STEP, LEFT, RIGHT = 370, 44, 62, 182, 146


def diagram() -> str:
    """Return the questions and their answers as an SVG, on a ground of its own, light or dark as the reader likes."""
    height = STEP * len(QUESTIONS) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'role="img"><title>Which gradient to try first</title>',
        f'<style>{STYLE.strip()}</style><rect class="g" width="{WIDTH}" height="{height}"/>',
    ]
    for place, (question, detail, *answer) in enumerate(QUESTIONS):
        top = 10 + STEP * place
        middle, right = top + HIGH / 2, WIDTH - RIGHT - 6
        parts += [
            box("q", 6, top, LEFT), words(question, 14, top + 18), words(detail, 14, top + 35, "d"),
            line(f"M{6 + LEFT} {middle}H{right - 7}"), head(right, middle, 0),
            box("a", right, top, RIGHT),
        ]  # fmt: skip
        first = middle + 5 - 8.5 * (len(answer) - 1)
        parts += [words(text, right + 10, first + 17 * i, "n") for i, text in enumerate(answer)]
        if place + 1 < len(QUESTIONS):
            parts += [line(f"M28 {top + HIGH}V{top + STEP - 7}"), head(28, top + STEP, 90)]
            parts.append(words("no", 36, top + HIGH + 13, "d"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def box(kind: str, x: float, y: float, width: float) -> str:
    """Return a rectangle."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{HIGH}" rx="5"/>'


def words(text: str, x: float, y: float, kind: str = "") -> str:
    """Return a line of text."""
    return f'<text{f" class={chr(34)}{kind}{chr(34)}" if kind else ""} x="{x:g}" y="{y:g}">{escape(text)}</text>'


def line(path: str) -> str:
    """Return a line along a path."""
    return f'<path class="l" d="{path}"/>'


def head(x: float, y: float, turn: int) -> str:
    """Return the head of an arrow whose point is at a place."""
    return f'<path class="h" d="M0 0L-7 -4V4Z" transform="translate({x:g} {y:g}) rotate({turn})"/>'


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    folder = DOCS / "pictures"
    folder.mkdir(exist_ok=True)
    (folder / "choose.svg").write_text(diagram(), encoding="utf-8")
