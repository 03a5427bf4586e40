"""A report as files: one table in Markdown, figures, and all of it on one page that needs nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hardgrad_lab.drawing.figures import inline, save_figure
from hardgrad_lab.drawing.index import index_reports, link_to_index
from hardgrad_lab.drawing.render import Link, render
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.runs.atomic import write_text
from hardgrad_lab.runs.records import Group


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that goes into a report.

    Args:
        template: of the page.
        title: of the page.
        measure: above the table.
        headings: of the table's columns.
        numeric: which of them hold figures, and are set flush right.
        cells: the table.
        legend: below the table.
        drawn: the figures.
        warnings: one for each record that could not be read.
        runs: where the numbers come from, one line a run.
        source: whose rows these are, in a line; empty where there is nothing to tell apart.
        links: to other pages.
        more: what else the template asks for.
    """

    template: str
    title: str
    measure: str
    headings: Sequence[str]
    numeric: Sequence[int]
    cells: list[list[str]]
    legend: str
    drawn: Sequence[Drawing]
    warnings: list[str]
    runs: Sequence[Mapping[str, str]]
    source: str = ""
    links: Sequence[Link] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What was written.

    Args:
        title: and measure, to stand above the table.
        headings: of the table's columns.
        numeric: which of them hold figures.
        cells: the table.
        legend: below the table.
        warnings: one for each file that could not be read.
        page: the HTML page.
        markdown: the table in Markdown.
        pictures: the figures, PNG and SVG.
        shown: which columns a terminal has room for; by default all.
        wraps: words of the table may be broken in a terminal, but for the columns 0, 1 and 3.
    """

    title: str
    headings: Sequence[str]
    numeric: Sequence[int]
    cells: list[list[str]]
    legend: str
    warnings: list[str]
    page: Path
    markdown: Path
    pictures: list[Path]
    shown: Sequence[int] | None = None
    wraps: bool = False


def write_page(content: Content, path: Path, markdown: str) -> dict[str, Any]:
    """Write a report.

    Args:
        content: of the report.
        path: of its page and of its Markdown, without a suffix.
        markdown: the Markdown.

    Returns:
        The fields of ``Page``.
    """
    pictures = [file for each in content.drawn for file in save_figure(each.figure, path.parent / each.name)]
    page, table = path.with_suffix(".html"), path.with_suffix(".md")
    write_text(page, _render(content))
    write_text(table, f"{content.source}\n\n{markdown}" if content.source else markdown)
    return {
        "title": f"{content.title}: {content.measure[0].lower()}{content.measure[1:]}",
        "headings": content.headings,
        "numeric": content.numeric,
        "cells": content.cells,
        "legend": content.legend,
        "warnings": content.warnings,
        "page": page,
        "markdown": table,
        "pictures": pictures,
    }


def write_report(content: Content, path: Path, markdown: str) -> dict[str, Any]:
    """Write one report of a folder of them, linked to the folder's index; as ``write_page`` otherwise."""
    found = write_page(replace(content, links=link_to_index(path.parent)), path, markdown)
    index_reports(path.parent, content.source)
    return found


def _render(content: Content) -> str:
    return render(
        content.template,
        title=content.title,
        source=content.source,
        links=content.links,
        measure=content.measure,
        headings=content.headings,
        legend=content.legend,
        numeric=content.numeric,
        rows=content.cells,
        figures=[inline(each.figure, each.title, each.caption) for each in content.drawn],
        warnings=content.warnings,
        runs=content.runs,
        **content.more,
    )


def as_markdown(headings: Sequence[str], numeric: Sequence[int], cells: Sequence[Sequence[str]], legend: str) -> str:
    """Return a table in Markdown, its legend below it."""
    rule = ["--:" if number in numeric else "---" for number in range(len(headings))]
    lines = ["| " + " | ".join(line) + " |" for line in (headings, rule, *cells)]
    return "\n".join([*lines, "", legend]) + "\n"


def provenance(groups: Sequence[Group], name: str) -> list[dict[str, str]]:
    """Return where each run's numbers come from.

    Args:
        groups: of records.
        name: a format string over a group's configuration.
    """
    lines = []
    for config, record in ((group.config, record) for group in groups for record in group.records):
        where = record.environment
        versions = where.get("versions", {})
        commit = str(where.get("commit", ""))[:10] + (" with changes" if where.get("dirty") else "")
        lines.append(
            {
                "name": f"{name.format(**config)}, seed {record.seed}",
                "started": record.started,
                "seconds": f"{record.seconds:,.0f}",
                "device": str(where.get("device", "")),
                "threads": str(where.get("threads", "")),
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                "commit": commit,
            }
        )
    return lines
