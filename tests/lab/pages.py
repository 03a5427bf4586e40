"""What the tests of reports ask of an HTML page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

ALONE = ("meta", "link", "img", "br")


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
        self.feed(text)
        assert self.open == []

    def check(self) -> None:
        """Assert that ids are there once, that nothing outside is referred to, and that tables are tables."""
        assert len(self.ids) == len(set(self.ids))
        inner = [link for link in self.links if not link.startswith("data:")]
        assert all(link.startswith("#") and link[1:] in self.ids for link in inner)
        assert not re.search(r"https?:|url\((?!#)|@import|<script", self.text)
        assert set(re.findall(r"url\(#([^)]+)\)", self.text)) <= set(self.ids)
        for widths in self.tables:
            assert len(set(widths)) == 1, widths

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ALONE:
            self.open.append(tag)
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
