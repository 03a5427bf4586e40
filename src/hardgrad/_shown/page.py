"""What a notebook shows: HTML that needs nothing but itself, in the colors of the page around it."""

from __future__ import annotations

from html import escape

# Each rule names the class, so that nothing else in a notebook changes; colors are the page's own, light or dark.
_STYLE = (
    "<style>"
    "div.hardgrad{line-height:1.4}"
    "div.hardgrad p,div.hardgrad ul{margin:.4em 0;max-width:75ch}"
    "div.hardgrad div.t{overflow-x:auto;margin:.4em 0}"
    "div.hardgrad table{border-collapse:collapse;border:0;margin:0;width:auto;table-layout:auto}"
    "div.hardgrad table{font-variant-numeric:tabular-nums}"
    "div.hardgrad caption{caption-side:top;text-align:left;padding:.2em 0;color:inherit}"
    "div.hardgrad th,div.hardgrad td{padding:.2em .6em;border:0;text-align:right;white-space:nowrap}"
    "div.hardgrad th:first-child{text-align:left}"
    "div.hardgrad .l{text-align:left}"
    "div.hardgrad .w{white-space:normal;min-width:18em}"
    "div.hardgrad tbody th{font-weight:normal}"
    "div.hardgrad thead th{border-bottom:1px solid currentColor}"
    "div.hardgrad svg{vertical-align:middle;margin-left:.5em;display:inline-block;max-width:none}"
    "div.hardgrad p svg{margin-left:0;max-width:100%}"
    "div.hardgrad code{white-space:pre-wrap;background:none;color:inherit}"
    "</style>"
)


def escaped(text: str, longest: int | None = None) -> str:
    """Return text as HTML that shows it; what is longer ends in three dots."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 3] + "..."
    return escape(text)


def page(*parts: str) -> str:
    """Return what ``_repr_html_`` returns: HTML parts, one under the other."""
    return f'<div class="hardgrad">{_STYLE}{"".join(parts)}</div>'


def words(text: str, strong: str = "") -> str:
    """Return a paragraph, after a word or two in bold."""
    head = f"<b>{escaped(strong)}</b> " if strong else ""
    return f"<p>{head}{escaped(text, 2000)}</p>"


def points(texts: list[str]) -> str:
    """Return a list of sentences; of many the first."""
    more = [f"{len(texts) - 20} more"] if len(texts) > 20 else []
    return f"<ul>{''.join(f'<li>{escaped(text, 1000)}</li>' for text in [*texts[:20], *more])}</ul>" if texts else ""


def code(text: str) -> str:
    """Return a line of code."""
    return f"<p><code>{escaped(text, 2000)}</code></p>"


def folded(title: str, inside: str) -> str:
    """Return HTML that is shown when its title is clicked."""
    return f"<details><summary>{escaped(title)}</summary>{inside}</details>"
