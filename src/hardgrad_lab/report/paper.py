"""The sections of the page of all experiments; what is not in the list yet is named here."""

from __future__ import annotations

from pathlib import Path

from hardgrad_lab.drawing.section import Section
from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.report.experiment import sections_of
from hardgrad_lab.report.paper_sorting import figure_6, table_ii
from hardgrad_lab.runs.records import Found


def sections(found: Found, results: Path, *, brief: bool) -> list[Section]:
    """Return every section of the experiments that are shown in brief, or of the others, in the order of the list."""
    made = []
    for one in map(experiment, LIST):
        if one.brief == brief:
            made += sections_of(one, found, results)
        if one.name == "figure3" and "sorting" not in LIST and not brief:
            made += [table_ii(found), figure_6(found)]
    return made
