"""The other published experiments in brief, one table each; their own reports have the rest."""

from __future__ import annotations

from hardgrad_lab.drawing.section import Section
from hardgrad_lab.experiments import LIST
from hardgrad_lab.report import lactose, published
from hardgrad_lab.report.lactose_table import by_contestant, describe, ordered
from hardgrad_lab.runs.records import Found, group_by_config

ERRORS = (
    "ESR, sum of squared errors over sum of squared targets on held-out rows: median of the seeds, least to greatest "
    "in brackets. The small budget."
)


def sections(found: Found) -> list[Section]:
    """Return the experiments on switches, on the published program and on the toys, those that have records."""
    made = [_switches(name, title, found) for name, title in lactose.TITLES.items() if name not in LIST]
    made += [maker(found) for name, maker in {"published": _published}.items() if name not in LIST]
    return [each for each in made if each.groups]


def _switches(name: str, title: str, found: Found) -> Section:
    records, warnings = found.of(name, lactose.fault)
    groups = [each for each in ordered(name, group_by_config(records)) if describe(each) == "small"]
    headings, cells = by_contestant(groups)
    return Section(
        anchor=name,
        title=title,
        about="A switch, one network for each range of a number, beside its rivals of the same size.",
        command=f"report {name}",
        headings=headings,
        numeric=tuple(range(1, len(headings))),
        cells=cells,
        legend=ERRORS,
        warnings=warnings,
        groups=groups,
    )


def _published(found: Found) -> Section:
    records, warnings = found.of("published", published.fault)
    groups = published.ordered(group_by_config(records))
    return Section(
        anchor="published",
        title="The published program of the differentiable IF",
        about=published.INTRODUCTION,
        command="report published",
        headings=published.HEADINGS,
        numeric=published.NUMERIC,
        cells=published.cells(groups),
        legend=published.LEGEND,
        warnings=warnings,
        groups=groups,
    )
