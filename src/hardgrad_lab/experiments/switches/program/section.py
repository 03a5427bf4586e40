"""What a report says of the published program: what each of its quirks costs, and what rows one by one cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hardgrad_lab.drawing.section import Section
from hardgrad_lab.experiments.switches.program import VARIANTS
from hardgrad_lab.experiments.switches.table import middle, spread
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Found, Group, group_by_config

HEADINGS = ("variant", "passes", "ESR train", "ESR later", "ESR unseen", "filed", "constant", "trains/s", "says/s", "n")
NUMERIC = tuple(range(1, len(HEADINGS)))
LEGEND = (
    "ESR: sum of squared errors over sum of squared targets, median of n seeds, least to greatest in brackets; train: "
    "the first 70 % of the recording; later: its rest; unseen: another subject. Filed: share of the losses that reach "
    "the history. Constant: visited ranges, of all seeds, that say one thing on all their rows. trains/s and says/s: "
    "rows a second in training and in predicting, one thread. own-optimizer to usual-start turn one quirk off."
)
INTRODUCTION = (
    "The published program trains row by row on 70 % of one recording: body's recoil in, electrocardiogram out, one "
    "past sample, six ranges, branches of dense 8, GRU 8, dense 8, dense 1 and dense 1. Each of its quirks is a named "
    "option here. switch-row-by-row has none of them; switch-batched is hg.Switch on the same network and rows."
)
NEEDED = ("esr_train", "esr_later", "esr_unseen", "filed", "constant_branches", "rows_per_s", "said_per_s")


def page(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the page of the published program."""
    (section,) = in_brief(experiment, found, results)
    return replace(section, title="The published program")


def in_brief(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return its section on the page of all experiments."""
    del results  # the records hold all
    records, warnings = found.of(experiment.name, fault)
    groups = ordered(group_by_config(records, experiment.read))
    return [
        Section(
            anchor=experiment.name,
            title="The published program of the differentiable IF",
            about=INTRODUCTION,
            command=f"report {experiment.name}",
            headings=HEADINGS,
            numeric=NUMERIC,
            cells=cells(groups),
            legend=LEGEND,
            warnings=warnings,
            groups=groups,
            measure="Error and speed, quirk by quirk",
            run_name="{contestant}, {passes} passes",
        )
    ]


def ordered(groups: Sequence[Group]) -> list[Group]:
    """Return the groups in the order of their passes and of the variants."""
    names = list(VARIANTS)
    return sorted(groups, key=lambda group: (_passes(group), names.index(group.config["contestant"])))


def cells(groups: Sequence[Group]) -> list[list[str]]:
    """Return the table: the variants of each number of passes, then what needs no training."""
    return [line for passes in dict.fromkeys(_passes(group) for group in groups) for line in _lines(groups, passes)]


def _passes(group: Group) -> int:
    return int(group.config["passes"])


def _lines(groups: Sequence[Group], passes: int) -> list[list[str]]:
    mine = [group for group in groups if _passes(group) == passes]
    constant = [
        spread([record.metrics[f"esr_constant_{part}"] for record in mine[0].records])
        for part in ("train", "later", "unseen")
    ]
    return [*(_row(group) for group in mine), ["constant", str(passes), *constant, "-", "-", "-", "-", "-"]]


def _row(group: Group) -> list[str]:
    metrics = [record.metrics for record in group.records]
    return [
        group.config["contestant"],
        str(_passes(group)),
        *(spread([each[f"esr_{part}"] for each in metrics]) for part in ("train", "later", "unseen")),
        f"{100 * (middle(group, 'filed') or 0):.0f} %",
        f"{sum(each['constant_branches'] for each in metrics):.0f}",
        f"{middle(group, 'rows_per_s'):,.0f}",
        f"{middle(group, 'said_per_s'):,.0f}",
        str(group.n),
    ]


def fault(record: Record) -> str | None:
    """Return what keeps a record out of the report."""
    missing = [name for name in ("variant", "passes") if name not in record.config]
    missing += [name for name in NEEDED if name not in record.metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    return None if record.config["variant"] in VARIANTS else f"is of an unknown variant ({record.config['variant']!r})"
