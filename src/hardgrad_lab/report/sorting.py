"""The report on neural sorting: table, curves and one page, from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from hardgrad_lab.dab.sorting import SYSTEMS
from hardgrad_lab.report.figures import inline_svg, save_figure
from hardgrad_lab.report.records import Group, NoRecordsError, find_records, group_by_config
from hardgrad_lab.report.sorting_figures import curves, ponders
from hardgrad_lab.report.sorting_table import HEADINGS, LEGEND, Row, as_markdown, rows
from hardgrad_lab.runs.atomic import write_text
from hardgrad_lab.runs.record import Record

NUMERIC = (0, 3, 4, 5, 6, 7)  # columns of figures, set flush right
CURVES = "Accuracy against training samples"
CURVES_CAPTION = (
    "One line a run, measured on held-out rows. Thin level lines are published numbers. No run that pondered."
)
PONDERING = "Effect of pondering"
PONDERING_CAPTION = "Best accuracy of a run, mean and standard deviation, as in figure 6 of the paper."


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written.

    Args:
        rows: the table.
        warnings: one for each file that could not be read.
        page: the HTML page.
        markdown: the table in Markdown.
        pictures: the figures, PNG and SVG.
    """

    rows: list[Row]
    warnings: list[str]
    page: Path
    markdown: Path
    pictures: list[Path]


def report_sorting(results: Path, out: Path) -> Report:
    """Write the report on all sorting records under a folder.

    Args:
        results: folder of the records.
        out: folder to write into; made when missing.

    Returns:
        The table and the paths of what was written.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    records, warnings = find_records(results, "sorting", _fault)
    groups = group_by_config(records)
    if not groups:
        raise NoRecordsError(
            " ".join([f"no records of sorting in {results}.", *warnings, "Make one with: hardgrad reproduce sorting"])
        )
    table = rows(groups)
    drawn = [("sorting", CURVES, CURVES_CAPTION, curves(groups))]
    pondering = ponders(groups)
    if pondering is not None:
        drawn.append(("sorting-ponder", PONDERING, PONDERING_CAPTION, pondering))
    pictures = [path for name, _, _, figure in drawn for path in save_figure(figure, out / name)]
    figures = [
        {"title": title, "caption": caption, "svg": inline_svg(figure, title)} for _, title, caption, figure in drawn
    ]
    page, markdown = out / "sorting.html", out / "sorting.md"
    write_text(page, _render(table, figures, warnings, groups))
    write_text(markdown, as_markdown(table))
    return Report(rows=table, warnings=warnings, page=page, markdown=markdown, pictures=pictures)


def _fault(record: Record) -> str | None:
    """Return what keeps a record out of the table, so that one odd file does not spoil the report."""
    config = record.config
    missing = [name for name in ("setting", "system", "length", "samples", "ponder") if name not in config]
    missing += [name for name in ("accuracy", "best_accuracy") if name not in record.metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    if config["system"] not in SYSTEMS or not isinstance(config["length"], int):
        return f"is of an unknown system or length ({config['system']!r}, {config['length']!r})"
    if not record.curve or any(not {"samples", "accuracy"} <= point.keys() for point in record.curve):
        return "has no curve of samples and accuracy"
    return None


def _render(
    table: Sequence[Row], figures: Sequence[dict[str, str]], warnings: Sequence[str], groups: Sequence[Group]
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hardgrad_lab", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    template = environment.get_template("sorting.html.jinja")
    return template.render(
        headings=HEADINGS,
        legend=LEGEND,
        numeric=NUMERIC,
        rows=table,
        figures=figures,
        warnings=warnings,
        runs=_provenance(groups),
    )


def _provenance(groups: Sequence[Group]) -> list[dict[str, str]]:
    lines = []
    for record in (record for group in groups for record in group.records):
        where = record.environment
        versions = where.get("versions", {})
        commit = str(where.get("commit", ""))[:10] + (" with changes" if where.get("dirty") else "")
        lines.append(
            {
                "name": "{system}, T={length}, {setting}, seed {seed}".format(**record.config, seed=record.seed),
                "started": record.started,
                "seconds": f"{record.seconds:,.0f}",
                "device": str(where.get("device", "")),
                "threads": str(where.get("threads", "")),
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                "commit": commit,
            }
        )
    return lines
