"""What the tests of reports ask of an HTML page, and of the figures in it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ALONE = ("meta", "link", "img", "br")
LEAST_PX = 10.0  # of letters in a figure, as rendered
PHONE_PX = 362  # what a page of 390 px leaves to a figure
SCREEN_PX = 1016  # what the narrowest page that shows the wide form of a figure leaves to it
OWN = re.compile(r"currentColor|none|var\(--[a-z]+\d?\)|url\(#[^)]+\)")
# Written as a difference, such as +2.35e1, or as a factor beside the axis, such as 1e6 alone.
OFFSET = re.compile(r"1e\d+|\+.+|.+e\+\d+")


class Page(HTMLParser):
    """Collects what a page refers to, its cells and its ids; complains of tags that do not nest.

    Args:
        text: the page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.cells: list[str] = []
        self.tables: list[list[int]] = []
        self.unreachable: list[str] = []
        self.feed(text)
        assert self.open == []

    def check(self, folder: Path | None = None) -> None:
        """Assert that ids are there once, that nothing outside is needed, and that tables are tables.

        Args:
            folder: of the page; links to pages must lead to files there.
        """
        assert len(self.ids) == len(set(self.ids))
        inner = [link for link in self.links if not link.startswith("data:")]
        pages = [link for link in inner if re.fullmatch(r"(\.\./[\w/-]*)?[\w.-]+\.html", link)]
        assert all(link in pages or (link.startswith("#") and link[1:] in self.ids) for link in inner)
        assert folder is None or all((folder / link).is_file() for link in pages), pages
        assert not re.search(r"https?:|url\((?!#)|@import|<script", self.text)
        assert set(re.findall(r"url\(#([^)]+)\)", self.text)) <= set(self.ids)
        assert not self.unreachable, "what scrolls must be reachable by the keyboard, and named"
        for widths in self.tables:
            assert len(set(widths)) == 1, widths

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ALONE:
            self.open.append(tag)
        given = dict(attrs)
        if given.get("class") == "scroll" and not (given.get("tabindex") == "0" and given.get("aria-label")):
            self.unreachable.append(str(given))
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "srcset", "action", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append(0)
        if tag in ("td", "th"):
            self.tables[-1][-1] += 1
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def drawings(text: str) -> list[tuple[str, float, ET.Element]]:
    """Return the figures of a page: whether wide or narrow, the px that it has at least, and the SVG."""
    found = []
    for kind, style, svg in re.findall(r'<div class="(wide|narrow)"([^>]*)>(<svg.*?</svg>)\s*</div>', text, re.DOTALL):
        most = re.search(r"max-width: (\d+)px", style)
        px = min(SCREEN_PX, float(most[1])) if most else PHONE_PX
        found.append((kind, px, ET.fromstring(svg.replace("xlink:href", "href"))))
    assert text.count("<svg") == len(found), "every figure has a wide and a narrow form"
    assert sum(kind == "wide" for kind, *_ in found) == sum(kind == "narrow" for kind, *_ in found)
    return found


def check_figures(text: str) -> int:
    """Assert the laws of figures inside a page, and return how many there are.

    All letters and lines are in colours of the page, so that they show in the dark as in the light; only areas may have
    a colour of their own, such as those of a colour scale. Letters are never below ``LEAST_PX`` as rendered. No number
    on an axis is written as a difference or without its factor.
    """
    found = drawings(text)
    for kind, px, svg in found:
        width = float(svg.attrib["viewBox"].split()[2])
        for element, style in _styled(svg):
            assert OWN.fullmatch(style.get("stroke", "none")), style
            if element.tag != "text":
                continue
            said = "".join(element.itertext()).strip()
            assert OWN.fullmatch(style.get("fill", "black")), (said, style)
            assert not element.findall(".//tspan"), f"{said}: parts of it are smaller than the rest"
            size = float(style["font-size"].removesuffix("px"))
            assert size * px / width >= LEAST_PX, (kind, said, size * px / width)
            assert not OFFSET.fullmatch(said), said
    return len(found)


def _styled(svg: ET.Element, given: dict[str, str] | None = None) -> Iterator[tuple[ET.Element, dict[str, str]]]:
    """Return each element with the style that it has or inherits."""
    own = dict(part.strip().split(": ", 1) for part in svg.attrib.get("style", "").split(";") if ": " in part)
    if "font" in own:
        own["font-size"] = next(part for part in own["font"].split() if part.endswith("px"))
    style = {**(given or {}), **own}
    for name in ("fill", "stroke"):
        if name in svg.attrib:
            style[name] = svg.attrib[name]
    yield svg, style
    for child in svg:
        yield from _styled(child, style)
