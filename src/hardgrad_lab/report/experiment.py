"""The report on any experiment that ``runs.experiment`` describes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hardgrad_lab.report import experiment_claims as claims
from hardgrad_lab.report.experiment_table import LEGEND, cells, headings, numeric, ordered
from hardgrad_lab.report.page import Content, Drawing, Page, as_markdown, provenance, write_page
from hardgrad_lab.report.records import Group, NoRecordsError, find_records, group_by_config
from hardgrad_lab.runs.experiment import BUDGETS, Experiment
from hardgrad_lab.runs.record import Record


def report_experiment(experiment: Experiment, results: Path, out: Path) -> Page:
    """Write the report on all records of an experiment under a folder.

    Args:
        experiment: what was run.
        results: folder of the records.
        out: folder to write into; made when missing.

    Returns:
        The table and the paths of what was written.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    records, warnings = find_records(results, experiment.name, lambda record: fault(experiment, record))
    groups = ordered(experiment, group_by_config(records))
    if not groups:
        make = f"Make one with: hardgrad reproduce {experiment.name}"
        raise NoRecordsError(" ".join([f"no records of {experiment.name} in {results}.", *warnings, make]))
    drawn, troubles = draw(experiment, groups, results)
    columns, figures_in, table = headings(experiment), numeric(experiment), cells(experiment, groups)
    judged = claims.judged(experiment, groups)
    content = Content(
        template="dab.html.jinja",
        title=experiment.source,
        measure="Ours beside the published numbers",
        headings=columns,
        numeric=figures_in,
        cells=table,
        legend=LEGEND,
        drawn=drawn,
        warnings=[*warnings, *troubles],
        runs=provenance(groups, "{task}, {contestant}, {budget}"),
        more={
            "introduction": experiment.about,
            "claims": judged,
            "claim_headings": claims.HEADINGS,
            "claim_legend": claims.LEGEND,
        },
    )
    said = as_markdown(claims.HEADINGS, (), judged, claims.LEGEND) if judged else ""
    written = "\n".join(part for part in (as_markdown(columns, figures_in, table, LEGEND), said) if part)
    return Page(**write_page(content, out / experiment.name, written))


def draw(experiment: Experiment, groups: Sequence[Group], results: Path) -> tuple[list[Drawing], list[str]]:
    """Return the figures of an experiment, and what kept one from being drawn.

    They are what ``dab_figures/NAME.py`` makes of the records and of what runs left beside them; an experiment without
    such a file has none.
    """
    module = f"hardgrad_lab.report.dab_figures.{experiment.name.replace('-', '_')}"
    if find_spec(module) is None:
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
