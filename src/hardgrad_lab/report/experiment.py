"""The report on any experiment that ``runs.experiment`` describes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from hardgrad_lab.drawing.page import Content, Page, provenance, write_report
from hardgrad_lab.drawing.section import FIGURE_ONLY, Drawing, Section
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
from hardgrad_lab.report.section import as_markdown, is_bad
from hardgrad_lab.runs.experiment import BUDGETS, Experiment, Part
from hardgrad_lab.runs.named import load
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
    made = page_of(experiment, found, results)
    warnings = [*found.warnings, *made.warnings]
    if not made.groups:
        make = f"Make one with: hardgrad reproduce {experiment.name}"
        raise NoRecordsError(" ".join([f"no records of {experiment.name} in {results}.", *warnings, make]))
    content = Content(
        template="experiment.html.jinja",
        title=made.title,
        measure=made.measure,
        headings=made.headings,
        numeric=made.numeric,
        cells=made.cells,
        legend=made.legend,
        drawn=made.drawn,
        warnings=warnings,
        source=source,
        runs=provenance(made.groups, made.run_name),
        more={"section": made, "is_bad": is_bad},
    )
    written = write_report(content, out / experiment.name, as_markdown(made))
    return Page(**written, shown=made.shown, wraps=made.wraps)


def page_of(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the section that is the experiment's own page.

    Args:
        experiment: what was run.
        found: all records.
        results: the folder they were found in, for what runs left beside them.
    """
    if experiment.page:
        section: Section = load(experiment.page)(experiment, found, results)
        return section
    made = section_of(experiment, found, results, anchor=experiment.name, title=experiment.source)
    return replace(made, shown=shown(experiment, made.cells), wraps=True)


def sections_of(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return the sections of an experiment on the page of all, those that nobody ran too.

    Args:
        experiment: what was run.
        found: all records.
        results: the folder they were found in, for what runs left beside them.
    """
    if experiment.sections:
        return list(load(experiment.sections)(experiment, found, results))
    parts = experiment.parts or (Part(anchor=experiment.name, title=experiment.source),)
    made = []
    for part in parts:
        mine = of_tasks(experiment, part.tasks)
        elsewhere = experiment.tasks.keys() - mine.tasks.keys()
        records = [each for each in found.records if not _is_of(each[1], experiment.name, elsewhere)]
        made.append(section_of(mine, replace(found, records=records), results, anchor=part.anchor, title=part.title))
    return made


def of_tasks(experiment: Experiment, beginnings: tuple[str, ...]) -> Experiment:
    """Return an experiment with those of its tasks alone whose names begin so, and what belongs to them."""
    tasks = {name: values for name, values in experiment.tasks.items() if name.startswith(beginnings)}
    published = {key: numbers for key, numbers in experiment.published.items() if key[0] in tasks}
    claims = [claim for claim in experiment.claims if claim.task in tasks]
    return replace(experiment, tasks=tasks, published=published, claims=claims)


def _is_of(record: Record, name: str, tasks: Collection[str]) -> bool:
    """Return whether a record is of an experiment, and of one of some tasks."""
    return record.experiment == name and record.config.get("task") in tasks


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

    An experiment that draws nothing, or that has no records, has none.
    """
    if not groups or not experiment.figures:
        return [], []
    maker: Callable[[Sequence[Group], Path], list[Drawing]] = load(experiment.figures)
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
