"""The page of an experiment on switches, and its section on the page of all experiments, from records alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing, Section, Table
from hardgrad_lab.experiments.switches.table import LEGEND, SOLVED, Columns, by_contestant, cells, ordered
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Found, Group, group_by_config
from hardgrad_lab.runs.setting import setting

ABOUT = "A switch, one network for each range of a number, beside its rivals of the same size."
FAIRNESS = (
    "All contestants of a task see the same rows in the same number of updates, with Adam in one cycle, and end in a "
    "linear layer. Those that train are as large as the switch, but for plain-active, which has one branch's size, and "
    "plain-8x8."
)
GLANCED = 24  # rows of a table that a short one stands before
GLANCE = "ESR on held-out recordings: the median of the runs, the least and the greatest in brackets. Lower is better."
ERRORS = (
    "ESR, sum of squared errors over sum of squared targets on held-out rows: median of the seeds, least to greatest "
    "in brackets. The small budget."
)
CONFIG = ("experiment", "budget", "task", "contestant", "system", "points")
METRICS = ("esr", "parameters", "active_parameters", "dead_branches", *(f"esr_{name}" for name in SOLVED))


def page_of(
    experiment: Experiment,
    found: Found,
    results: Path,
    *,
    introduction: str,
    columns: Columns,
    draw: Callable[[Sequence[Group], Path], list[Drawing]],
    details: Sequence[str] = (),
) -> Section:
    """Return the page of an experiment.

    Args:
        experiment: which.
        found: all records.
        results: the folder they were found in, for the curves that runs left beside them.
        introduction: what is done there.
        columns: of the table.
        draw: makes the figures of the groups of records and their folder.
        details: paragraphs that a reader may unfold.
    """
    groups, warnings = _groups(experiment, found)
    table = cells(experiment, groups, columns)
    try:
        drawn = draw(groups, results) if groups else []
    except (OSError, ValueError, LookupError) as error:
        drawn = []
        warnings += [f"no figures of {experiment.name}: what its runs left is damaged or incomplete ({error!r})"]
    return Section(
        anchor=experiment.name,
        title=experiment.parts[0].title,
        about=introduction,
        command=f"reproduce {experiment.name}",
        headings=columns.headings,
        numeric=columns.numeric,
        cells=table,
        legend=LEGEND,
        drawn=[replace(drawing, name=f"{experiment.name}-{drawing.name}") for drawing in drawn],
        warnings=warnings,
        groups=groups,
        measure="Error-to-signal ratio on held-out rows",
        details=[*details, FAIRNESS],
        glance=_glance(experiment, groups) if len(table) > GLANCED else None,
    )


def brief(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return the section on the page of all experiments: the errors of the small budget."""
    del results  # no figure of it is shown there
    groups, warnings = _groups(experiment, found)
    groups = [group for group in groups if setting(experiment, group) == "small"]
    headings, table = by_contestant(experiment, groups)
    section = Section(
        anchor=experiment.name,
        title=experiment.parts[0].title,
        about=ABOUT,
        command=f"report {experiment.name}",
        headings=headings,
        numeric=tuple(range(1, len(headings))),
        cells=table,
        legend=ERRORS,
        warnings=warnings,
        groups=groups,
    )
    return [section] if groups else []


def fault(experiment: Experiment, record: Record) -> str | None:
    """Return what keeps a record out of the table, so that one odd file does not spoil the report."""
    config = record.config
    missing = [name for name in CONFIG if name not in config]
    missing += [name for name in METRICS if name not in record.metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    for name, known in (("task", experiment.tasks), ("contestant", experiment.contestants)):
        if config[name] not in known:
            return f"is of an unknown {name} ({config[name]!r})"
    return None


def _groups(experiment: Experiment, found: Found) -> tuple[list[Group], list[str]]:
    records, warnings = found.of(experiment.name, lambda record: fault(experiment, record))
    return ordered(experiment, group_by_config(records, experiment.read)), warnings


def _glance(experiment: Experiment, groups: Sequence[Group]) -> Table | None:
    """Return the short table that stands before a long one; None where nothing of the small budget was run."""
    headings, table = by_contestant(experiment, groups)
    numeric = tuple(range(1, len(headings)))
    return Table(headings=headings, numeric=numeric, cells=table, legend=GLANCE) if table else None
