"""The report on any experiment that ``runs.experiment`` describes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hardgrad_lab.drawing.page import Content, Drawing, Page, provenance, write_report
from hardgrad_lab.report import experiment_claims as claims
from hardgrad_lab.report.experiment_table import (
    LEGEND,
    cells,
    headings,
    not_run,
    numeric,
    ordered,
    rows_used,
    shown,
    standings,
)
from hardgrad_lab.report.section import FIGURE_ONLY, Section, as_markdown, is_bad
from hardgrad_lab.runs.experiment import BUDGETS, Experiment
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Found, Group, NoRecordsError, group_by_config, read_records


def report_experiment(experiment: Experiment, results: Path, out: Path, source: str = "") -> Page:
    """Write the report on all records of an experiment under a folder.

    Args:
        experiment: what was run.
        results: folder of the records.
        out: folder to write into; made when missing.
        source: whose rows these are, in a line; empty where there is nothing to tell apart.

    Returns:
        The table and the paths of what was written.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    found = read_records(results)
    made = section_of(experiment, found, results, anchor=experiment.name, title=experiment.source)
    if not made.groups:
        make = f"Make one with: hardgrad reproduce {experiment.name}"
        warnings = (*found.warnings, *made.warnings)
        raise NoRecordsError(" ".join([f"no records of {experiment.name} in {results}.", *warnings, make]))
    content = Content(
        template="dab.html.jinja",
        title=made.title,
        measure="Ours beside the published numbers",
        headings=made.headings,
        numeric=made.numeric,
        cells=made.cells,
        legend=made.legend,
        drawn=made.drawn,
        warnings=[*found.warnings, *made.warnings],
        source=source,
        runs=provenance(made.groups, "{task}, {contestant}, {budget}"),
        more={"section": made, "is_bad": is_bad},
    )
    columns = shown(experiment, made.cells)
    return Page(**write_report(content, out / experiment.name, as_markdown(made)), shown=columns)


def section_of(experiment: Experiment, found: Found, results: Path, *, anchor: str, title: str) -> Section:
    """Return what the records say of an experiment; without records, what the paper has and nobody ran.

    Args:
        experiment: what was run.
        found: all records.
        results: the folder they were found in, for what runs left beside them.
        anchor: the section's id on a page.
        title: of the section.
    """
    records, warnings = found.of(experiment.name, lambda record: fault(experiment, record))
    groups = ordered(experiment, group_by_config(records))
    drawn, troubles = draw(experiment, groups, results)
    missing = not_run(experiment, groups)
    notes = [] if experiment.published else [f"{FIGURE_ONLY[0].upper()}{FIGURE_ONLY[1:]} in the paper."]
    notes += [f"Not run: {'; '.join(missing)}."] if missing else []
    notes += [f"Data of {used}." for used in rows_used(groups)]
    return Section(
        anchor=anchor,
        title=title,
        about=experiment.about,
        command=f"reproduce {experiment.name}",
        headings=headings(experiment),
        numeric=numeric(experiment),
        cells=cells(experiment, groups),
        legend=LEGEND,
        claims=claims.judged(experiment, groups),
        claim_headings=claims.HEADINGS,
        claim_legend=claims.LEGEND,
        drawn=drawn,
        notes=notes,
        warnings=[*warnings, *troubles],
        groups=groups,
        standings=standings(experiment, groups),
    )


def draw(experiment: Experiment, groups: Sequence[Group], results: Path) -> tuple[list[Drawing], list[str]]:
    """Return the figures of an experiment, and what kept them from being drawn.

    They are what ``dab_figures/NAME.py`` makes of the records and of what runs left beside them; an experiment without
    such a file, or without records, has none.
    """
    module = f"hardgrad_lab.report.dab_figures.{experiment.name}"
    if not groups or find_spec(module) is None:
        return [], []
    maker: Callable[[Sequence[Group], Path], list[Drawing]] = import_module(module).draw
    try:
        return maker(groups, results), []
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        return [], [f"no figures of {experiment.name}: what its runs left is damaged or incomplete ({error!r})"]


def fault(experiment: Experiment, record: Record) -> str | None:
    """Return what keeps a record out of the report, so that one odd file does not spoil it."""
    config = record.config
    missing = [name for name in ("task", "contestant", "budget") if name not in config]
    if missing:
        return f"lacks {', '.join(missing)}"
    if config["task"] not in experiment.tasks or config["contestant"] not in experiment.contestants:
        return f"is of an unknown task or contestant ({config['task']!r}, {config['contestant']!r})"
    if config["budget"] not in BUDGETS:
        return f"is of an unknown budget ({config['budget']!r})"
    if not any(metric.name in record.metrics for metric in experiment.metrics):
        return f"lacks {', '.join(metric.name for metric in experiment.metrics)}"
    return None
