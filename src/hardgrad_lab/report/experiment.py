"""The report on any experiment that ``runs.experiment`` describes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
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
    rows_used,
    shown,
)
from hardgrad_lab.report.section import as_markdown, is_bad
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.named import load
from hardgrad_lab.runs.records import Found, Group, NoRecordsError, read_records
from hardgrad_lab.runs.reported import groups_of, ordered
from hardgrad_lab.runs.standing import standings, trials


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
    groups, warnings = groups_of(experiment, found)
    part = Part(anchor=experiment.name, title=experiment.source)
    made = section_of(experiment, part, groups, results)
    measure = "What each reached" if experiment.brief else made.measure
    warnings = [*warnings, *made.warnings]
    return replace(made, measure=measure, warnings=warnings, shown=shown(experiment, made.cells), wraps=True)


def sections_of(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return the sections of an experiment on the page of all, those that nobody ran too.

    Args:
        experiment: what was run.
        found: all records.
        results: the folder they were found in, for what runs left beside them.
    """
    if experiment.sections:
        return list(load(experiment.sections)(experiment, found, results))
    groups, warnings = groups_of(experiment, found)
    parts = experiment.parts or (Part(anchor=experiment.name, title=experiment.source),)
    made = [section_of(experiment, part, groups, results) for part in parts]
    return [replace(made[0], warnings=[*warnings, *made[0].warnings]), *made[1:]]


def of_part(experiment: Experiment, part: Part) -> Experiment:
    """Return an experiment with what one of its parts shows alone: its tasks, and what belongs to them."""
    tasks = {name: values for name, values in experiment.tasks.items() if name.startswith(part.tasks)}
    published = {key: numbers for key, numbers in experiment.published.items() if key[0] in tasks}
    claims = [claim for claim in experiment.claims if claim.task in tasks]
    return replace(experiment, **{"tasks": tasks, "published": published, "claims": claims, **part.changes})


def section_of(experiment: Experiment, part: Part, groups: Sequence[Group], results: Path) -> Section:
    """Return what the records say of a part of an experiment; without records, what the paper has and nobody ran.

    Args:
        experiment: what was run.
        part: which part of it.
        groups: all its runs.
        results: the folder they were found in, for what runs left beside them.
    """
    experiment = of_part(experiment, part)
    mine = [group for group in groups if group.config["task"].startswith(part.tasks)]
    chosen = part.select([group for group in mine if group.config["contestant"] in experiment.contestants])
    groups = ordered(experiment, chosen)
    drawn, troubles = draw(experiment, groups, results)
    missing = not_run(experiment, groups)
    notes = (
        [] if experiment.published or experiment.brief else [f"{FIGURE_ONLY[0].upper()}{FIGURE_ONLY[1:]} in the paper."]
    )
    notes += [f"Not run: {'; '.join(missing)}."] if missing else []
    notes += [f"Data of {used}." for used in rows_used(groups)]
    return Section(
        anchor=part.anchor,
        title=part.title,
        about=experiment.about,
        command=part.command or f"reproduce {experiment.name}",
        headings=headings(experiment),
        numeric=numeric(experiment),
        cells=cells(experiment, groups),
        legend=LEGEND,
        claims=claims.judged(experiment, groups),
        claim_headings=claims.HEADINGS,
        claim_legend=claims.LEGEND,
        drawn=drawn,
        notes=notes,
        warnings=troubles,
        groups=groups,
        standings=standings(experiment, groups),
        trials=cells(experiment, groups, trials(experiment, groups)),
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
