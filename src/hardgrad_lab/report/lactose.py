"""The reports on switches beside their rivals: table, figures, sounds and one page, from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hardgrad_lab.drawing.clips import clip_of_file
from hardgrad_lab.drawing.page import Content, Drawing, Page, as_markdown, provenance, write_report
from hardgrad_lab.experiments.switches import figures as figures
from hardgrad_lab.experiments.switches.settings import CONTESTANTS, TASKS, Experiment
from hardgrad_lab.report.lactose_table import LEGEND, PARTS, RATE, by_contestant, cells, headings, numeric, ordered
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Group, NoRecordsError, find_records, group_by_config

TITLES = {
    "piecewise": "Maps of linear pieces",
    "ecg": "Heart signals",
    "waveshaper": "Circuits with breaks",
}
INTRODUCTIONS = {
    "piecewise": (
        "A number in, a number out, along straight lines that change at known points. talk: a continuous map of five "
        "pieces, 720,000 samples, 80 % of them to train on, as in the author's talk, whose own map is not published. "
        "toy: four lines at random with jumps between them, one map a seed, trained on a sum of two sines and tested "
        "on another, after his program."
    ),
    "ecg": (
        "The electrocardiogram from the body's recoil (bcg from 80 past samples, bcg-1 from one) or from the voice "
        "(80). Subject 001 trains, with recordings held out for ESR same; ESR train is of rows that trained; subject "
        "020 is unseen and never trained on. Filters, scaling, windows and ranges are those of the published program."
    ),
    "waveshaper": (
        "A distortion box bends a sound differently where it is loud than where it is quiet: its curve has breaks. "
        "Here models learn such curves from real guitars and drums, and are tested on other recordings. A switch has "
        "one small network for each piece between two breaks; its rivals are single networks of the same size. The "
        "error is the ESR, the energy of what is wrong in the energy of the sound: 0.01 is one per cent."
    ),
}
DETAILS = {
    "waveshaper": (
        "Circuits by formula, driven by guitars and drums. The switch has the true points. Points 30 % off stay "
        "(switch-wrong), are placed anew every so often in training, with ranges that move to where one is missing "
        "(switch-learnt), or learn by the gradient that rows near them lend (switch-lent). Points off by 30 % of the "
        "narrower range beside each, where that is less, stay (switch-near) or are placed and moved "
        "(switch-learnt-near). switch-searched has points found in the training rows.",
        "Points off: the worst one's distance to the truth, as a share of it. A switch that places its points draws "
        "its rows evenly over its ranges. condition-input and film are given the true ranges, too.",
    ),
}
FAIRNESS = (
    "All contestants of a task see the same rows in the same number of updates, with Adam in one cycle, and end in a "
    "linear layer. Those that train are as large as the switch, but for plain-active, which has one branch's size, and "
    "plain-8x8."
)
HEARD = ("dry", "target", "switch", "switch-wrong", "switch-learnt", "plain-total")
GLANCED = 24  # rows of a table that a short one stands before
GLANCE = "ESR on held-out recordings: the median of the runs, the least and the greatest in brackets. Lower is better."
ERRORS = "One dot a seed, a bar at the median; switches in blue."


def report_lactose(experiment: str, results: Path, out: Path, source: str = "") -> Page:
    """Write the report on all records of an experiment under a folder.

    Args:
        experiment: piecewise, ecg or waveshaper.
        results: folder of the records.
        out: folder to write into; made when missing.
        source: whose rows these are, in a line; empty where there is nothing to tell apart.

    Returns:
        The table and the paths of what was written.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    records, warnings = find_records(results, experiment, fault)
    groups = ordered(experiment, group_by_config(records))
    if not groups:
        make = f"Make one with: hardgrad reproduce {experiment}"
        raise NoRecordsError(" ".join([f"no records of {experiment} in {results}.", *warnings, make]))
    columns, figures_in, table = headings(experiment), numeric(experiment), cells(experiment, groups)
    content = Content(
        template="lactose.html.jinja",
        title=TITLES[experiment],
        measure="Error-to-signal ratio on held-out rows",
        headings=columns,
        numeric=figures_in,
        cells=table,
        legend=LEGEND,
        drawn=_drawn(experiment, results, groups),
        warnings=warnings,
        source=source,
        runs=provenance(groups, "{task}, {contestant}, {budget}"),
        more={
            "introduction": INTRODUCTIONS[experiment],
            "details": [*DETAILS.get(experiment, ()), FAIRNESS],
            "glance": _glance(groups) if len(table) > GLANCED else None,
            "sounds": _sounds(experiment, results),
        },
    )
    return Page(**write_report(content, out / experiment, as_markdown(columns, figures_in, table, LEGEND)))


def _glance(groups: Sequence[Group]) -> dict[str, object] | None:
    """Return the short table that stands before a long one; None where nothing of the small budget was run."""
    columns, table = by_contestant(groups)
    figures_in = tuple(range(1, len(columns)))
    return {"headings": columns, "numeric": figures_in, "cells": table, "legend": GLANCE} if table else None


def _drawn(experiment: str, results: Path, groups: Sequence[Group]) -> list[Drawing]:
    metric = "esr_unseen" if experiment == "ecg" else "esr"
    curves = figures.kept(results, groups)
    truth = {task: _points(groups, task) for task in figures.by_task(groups)}
    found = [
        ("errors", "Errors", ERRORS, figures.errors(groups, metric)),
        ("transfer", "Transfer curves", "What seed 0 learnt, beside the truth.", figures.transfer(curves)),
        ("points", "Points that find their way back", "Every seed.", figures.journeys(groups, truth)),
        ("hearts", "The unseen subject", "What seed 0 learnt.", figures.hearts(curves, RATE[experiment])),
        (
            "ranges",
            "Range by range" + (", unseen subject" if experiment == "ecg" else ""),
            "Squared error of each range in the energy of all rows: the shares add up to the ESR. Median of the seeds.",
            figures.ranges(groups, "unseen" if experiment == "ecg" else ""),
        ),
    ]
    return [
        Drawing(name=f"{experiment}-{name}", title=title, caption=caption, figure=figure)
        for name, title, caption, figure in found
        if figure is not None
    ]


def _points(groups: Sequence[Group], task: str) -> list[float]:
    """Return the true points of a task, which the record of any run with other points has beside its own."""
    for group in groups:
        if group.config["task"] == task:
            metrics = group.records[0].metrics
            found = [metrics[f"true_point_{i}"] for i in range(64) if f"true_point_{i}" in metrics]
            if found:
                return found
    return []


def _sounds(experiment: str, results: Path) -> list[dict[str, object]]:
    """Return the clips that runs left, to stand inside the page: for each sound, what each model makes of it."""
    if experiment != "waveshaper":
        return []
    paths = {path.stem: path for path in results.rglob("audio/*.wav")}
    found: list[dict[str, object]] = []
    for task in TASKS["waveshaper"]:
        for part in PARTS["waveshaper"]:
            clips = [
                clip_of_file(name, paths[f"{task}-{part}-{name}"]) for name in HEARD if f"{task}-{part}-{name}" in paths
            ]
            found += [{"name": f"{task}, {part}", "clips": clips}] if clips else []
    return found


def fault(record: Record) -> str | None:
    """Return what keeps a record out of the table, so that one odd file does not spoil the report."""
    config, metrics = record.config, record.metrics
    needed = ("experiment", "budget", "task", "contestant", "system", "points")
    missing = [name for name in needed if name not in config]
    missing += [name for name in ("esr", "parameters", "active_parameters", "dead_branches") if name not in metrics]
    missing += [f"esr_{name}" for name in ("constant", "best-gain", "linear") if f"esr_{name}" not in metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    experiment = {str(name): name for name in get_args(Experiment)}.get(record.experiment)
    if experiment is None or config["task"] not in TASKS[experiment]:
        return f"is of an unknown task ({config['task']!r})"
    if config["contestant"] not in CONTESTANTS[experiment]:
        return f"is of an unknown contestant ({config['contestant']!r})"
    return None
