"""The report on neural sorting: table, curves and one page, from records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hardgrad_lab.drawing.page import Content, Page, provenance, write_report
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.sorting import SYSTEMS
from hardgrad_lab.experiments.bridges.sorting.figures import curves, ponders
from hardgrad_lab.report.sorting_table import HEADINGS, LEGEND, NUMERIC, Row, as_markdown, rows
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import NoRecordsError, find_records, group_by_config

MEASURE = "All-or-none test accuracy"
CURVES = "Accuracy against training samples"
CURVES_CAPTION = (
    "One line a run, measured on held-out rows. Thin level lines are published numbers. No run that pondered."
)
PONDERING = "Effect of pondering"
PONDERING_CAPTION = "Best accuracy of a run, mean and standard deviation, as in figure 6 of the paper."


@dataclass(frozen=True, kw_only=True)
class Report(Page):
    """What was written.

    Args:
        rows: the table.
    """

    rows: list[Row]


def report_sorting(results: Path, out: Path, source: str = "") -> Report:
    """Write the report on all sorting records under a folder.

    Args:
        results: folder of the records.
        out: folder to write into; made when missing.
        source: whose rows these are, in a line; empty where there is nothing to tell apart.

    Returns:
        The table and the paths of what was written.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    records, warnings = find_records(results, "sorting", fault)
    groups = group_by_config(records)
    if not groups:
        raise NoRecordsError(
            " ".join([f"no records of sorting in {results}.", *warnings, "Make one with: hardgrad reproduce sorting"])
        )
    table = rows(groups)
    drawn = [Drawing(name="sorting", title=CURVES, caption=CURVES_CAPTION, figure=curves(groups))]
    pondering = ponders(groups)
    if pondering is not None:
        drawn.append(Drawing(name="sorting-ponder", title=PONDERING, caption=PONDERING_CAPTION, figure=pondering))
    content = Content(
        template="sorting.html.jinja",
        title="Neural sorting",
        measure=MEASURE,
        headings=HEADINGS,
        numeric=NUMERIC,
        cells=[row.cells() for row in table],
        legend=LEGEND,
        drawn=drawn,
        warnings=warnings,
        source=source,
        runs=provenance(groups, "{system}, T={length}, {setting}"),
    )
    page = write_report(content, out / "sorting", as_markdown(table))
    return Report(rows=table, **page)


def fault(record: Record) -> str | None:
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
