"""Pages opened in a real browser, wide and light, narrow and dark: nothing on the console, nothing cut, axe content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGES = (
    "index.html",
    "start/index.html",
    "choose.html",
    "guides/orders.html",
    "api/bridges.html",
    "api/switches.html",
    "commands/index.html",
    "evidence/reproduction.html",
    "design.html",
    "gallery/index.html",
)
# Without preload: a page of the disk may not read its style sheets a second time.
RULES = "axe.run({preload: false, resultTypes: ['violations']})"
BAD = ("serious", "critical")


FORMS = [(1280, "light"), (390, "dark")]  # a width has one layout and a scheme one set of colors: both, in two passes


@pytest.fixture(params=FORMS, ids=lambda form: "-".join(map(str, form)), scope="module")
def window(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield context
    context.close()


def opened(window: Any, address: str) -> tuple[Any, list[str]]:
    """Return a page, and what goes wrong in it: errors of the console, and any request to a network."""
    page, said = window.new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    return page, said


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole(window: Any, axe: str, site: Path, name: str) -> None:
    page, said = opened(window, (site / name).as_uri())
    page.evaluate("document.querySelectorAll('article details').forEach(each => { each.open = true })")
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.evaluate(axe)
    found = page.evaluate(RULES)["violations"]
    page.close()
    assert said == []
    assert wider <= 0, f"{wider} px wider than the window"
    told = [
        (each["id"], len(each["nodes"]), [node["target"][0] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in BAD
    ]
    assert told == []


def test_what_is_wrong_with_a_page_is_found(browser: Any, axe: str, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        '<html lang="en"><title>Bad</title><main><h1>Bad</h1><p style="width: 3000px; color: #ccc; background: #fff">'
        "Faint</p></main><script>nothing()</script></html>"
    )
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page, said = opened(context, (tmp_path / "bad.html").as_uri())
    assert "nothing is not defined" in said[0]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") > 2000
    page.evaluate(axe)
    assert "color-contrast" in [each["id"] for each in page.evaluate(RULES)["violations"]]
    context.close()


def test_search_works_from_the_disk(browser: Any, site: Path) -> None:
    context = browser.new_context()
    page, _ = opened(context, (site / "search.html").as_uri() + "?q=straight_through")
    page.wait_for_selector("#search-results li a", timeout=30_000)
    page.wait_for_function("document.querySelectorAll('#search-results li a').length > 2")
    found = page.eval_on_selector_all("#search-results li a", "each => each.map(one => one.getAttribute('href'))")
    assert any(address.startswith("api/surrogates.html") for address in found), found
    context.close()
