"""The page of an experiment on switches, and its section on the page of all experiments, from records alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing, Section, Table
from hardgrad_lab.experiments.switches.table import LEGEND, SOLVED, Columns, by_contestant, cells
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, Group
from hardgrad_lab.runs.reported import groups_of
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
NEEDS = (
    "system",
    "points",
    "esr",
    "parameters",
    "active_parameters",
    "dead_branches",
    *(f"esr_{name}" for name in SOLVED),
)


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
    groups, warnings = groups_of(experiment, found, NEEDS)
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
    groups, warnings = groups_of(experiment, found, NEEDS)
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


def _glance(experiment: Experiment, groups: Sequence[Group]) -> Table | None:
    """Return the short table that stands before a long one; None where nothing of the small budget was run."""
    headings, table = by_contestant(experiment, groups)
    numeric = tuple(range(1, len(headings)))
    return Table(headings=headings, numeric=numeric, cells=table, legend=GLANCE) if table else None
