"""The last touch to a page's HTML: what axe asks of it and Sphinx, furo or MyST do not give.

- What scrolls sideways, a table or a program, is reached by the keyboard.
- The parameters of a long signature are a list of definitions without terms: made plain lines.
- The captions of the sidebar are headings: of the second level.
- A cell of one paragraph is its text, which takes a fifth off a page of tables.
- The link over a picture of the gallery has its text hidden: it is told by its title.
- A browser's frame has the page's color.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

COLORS = {"light": "#ffffff", "dark": "#131416"}  # furo's backgrounds
LINES = re.compile(r"<dl>\s*((?:<dd>(?:(?!</dd>).)*</dd>\s*)+)</dl>", re.DOTALL)
THUMBNAIL = re.compile(r'(<p><a class="reference internal")( href="[^"]*"><span class="[^"]*">([^<]*)</span></a></p>)')
CELL = re.compile(r"<(td|th)([^>]*)><p>((?:(?!</?(?:p|td|th)\b).)*)</p>\s*</\1>", re.DOTALL)


def lines(found: re.Match[str]) -> str:
    """Return the parameters of a signature as lines."""
    inside = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{inside}</span>'


def body(made: str) -> str:
    """Return the HTML of a page's text."""
    made = made.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
    made = made.replace("<pre>", '<pre tabindex="0">')
    if "sphx-glr-thumbcontainer" in made:
        made = THUMBNAIL.sub(r'\1 aria-label="\3"\2', made)
    return CELL.sub(r"<\1\2>\3</\1>", LINES.sub(lines, made))


def page(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Change what a page is made of."""
    del app, name, template, doctree
    if "body" in context:
        context["body"] = body(context["body"])
    for tree in ("furo_navigation_tree", "furo_navigation"):
        if tree in context:
            context[tree] = context[tree].replace('role="heading"', 'role="heading" aria-level="2"')
    context["metatags"] = context.get("metatags", "") + "".join(
        f'<meta name="theme-color" content="{color}" media="(prefers-color-scheme: {scheme})">\n'
        for scheme, color in COLORS.items()
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("html-page-context", page, priority=900)  # after furo, which makes the sidebar
    return {"parallel_read_safe": True, "parallel_write_safe": True}
