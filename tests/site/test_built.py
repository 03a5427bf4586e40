"""What the built pages weigh and load, and that formulas and names became what they should."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

MOST = 300_000  # bytes of a page, its pictures not counted
LOADS = {"source": "srcset", "use": "href"} | dict.fromkeys(("script", "img", "iframe", "video", "audio"), "src")
NOT_LOADED = {"canonical", "search", "index", "next", "prev", "author", "copyright", "genindex"}


class Loaded(HTMLParser):
    """The addresses that a page loads by itself, and the pictures without a word."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADS:
            self.addresses += [given.get(LOADS[tag]) or ""]
        if tag == "link" and not NOT_LOADED & set((given.get("rel") or "").split()):
            self.addresses += [given.get("href") or ""]
        is_thumbnail = (given.get("src") or "").endswith("_thumb.png")  # of the gallery: its title stands below it
        if tag == "img" and not given.get("alt") and not is_thumbnail:
            self.silent.append(given.get("src") or "")


def loaded(text: str) -> Loaded:
    page = Loaded()
    page.feed(text)
    return page


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 40
    return found


def test_a_page_is_light(site: Path) -> None:
    heavy = {page.relative_to(site).as_posix(): page.stat().st_size for page in pages(site)}
    assert {name: size for name, size in heavy.items() if size >= MOST} == {}


def test_no_page_loads_from_a_network(site: Path) -> None:
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        addresses = loaded(text).addresses
        assert addresses
        assert [each for each in addresses if re.match(r"(https?:)?//", each)] == [], page
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_what_loads_from_a_network_is_found() -> None:
    head = '<script src="//a.org/x.js"></script><link rel="stylesheet" href="https://b.org/y.css">'
    page = loaded(f'{head}<img src="z.svg">')
    assert page.addresses == ["//a.org/x.js", "https://b.org/y.css", "z.svg"]
    assert page.silent == ["z.svg"]


def test_every_file_that_a_page_loads_is_there(site: Path) -> None:
    for page in pages(site):
        for address in loaded(page.read_text(encoding="utf-8")).addresses:
            name = address.split("?")[0].split("#")[0]
            if name and not name.startswith("data:"):
                assert (page.parent / name).is_file(), f"{page}: {address}"


def test_pictures_say_what_they_show(site: Path) -> None:
    silent = {page.name: loaded(page.read_text(encoding="utf-8")).silent for page in pages(site)}
    assert {name: found for name, found in silent.items() if found} == {}


def test_formulas_are_mathml(site: Path) -> None:
    text = (site / "api" / "bridges.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<math alttext=", text)) > 3
    assert "<msup>" in text
    assert "mathjax" not in text.lower()


def test_names_in_code_style_are_links(site: Path) -> None:
    text = (site / "api" / "bridges.html").read_text(encoding="utf-8")
    assert re.search(r'href="https://docs.pytorch.org/docs/stable/generated/torch.sign.html#torch.sign"', text)
    assert re.search(r'<a [^>]*href="#hardgrad.penalties"[^>]*><code', text)
    assert 'href="../_modules/hardgrad/bridge.html' in text, "the source"


def test_every_public_name_has_its_place(site: Path) -> None:
    listed = sorted((Path(__file__).parents[2] / "docs" / "api").glob("*.rst"))
    assert listed
    for page in listed:
        text = (site / "api" / f"{page.stem}.html").read_text(encoding="utf-8")
        for name in re.findall(r"^   (hardgrad[\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert f'id="{name}"' in text, f"{page.name}: {name}"
