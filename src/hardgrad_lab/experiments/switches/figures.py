"""The figures on switches: errors seed by seed, transfer curves, hearts, and points that find their way back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, Drawn, legend, new_figure
from hardgrad_lab.report.lactose_table import SOLVED, middle
from hardgrad_lab.runs.record import Record, Run
from hardgrad_lab.runs.records import Group

Arrays = Mapping[str, np.ndarray[Any, Any]]
DRAWN = ("switch", "switch-wrong", "switch-learnt", "plain-total", "plain-active")
SHOWN_S = 3.0


def by_task(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of each task, in the given order."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.config["task"], []).append(group)
    return found


def errors(groups: Sequence[Group], metric: str) -> Drawn:
    """Draw every seed's error, one panel a task, one line a contestant; upright lines need no training."""
    tasks = by_task(groups)
    names = list(dict.fromkeys(group.config["contestant"] for group in groups))[::-1]
    figure, axes = new_figure(len(tasks))
    for panel, (task, members) in zip(axes, tasks.items(), strict=True):
        for group in members:
            height = names.index(group.config["contestant"])
            values = [record.metrics[metric] for record in group.records]
            colour = COLOURS[0] if group.config["system"] == "switch" else COLOURS[1]
            panel.plot(values, [height] * len(values), "o", color=colour, alpha=0.6, markersize=5)
            panel.plot([statistics.median(values)], [height], "|", color=colour, markersize=16, markeredgewidth=2)
        for name, dashes in zip(SOLVED, DASHES[1:], strict=False):
            value = middle(members[0], metric.replace("esr", f"esr_{name}", 1))
            if value is not None:
                panel.axvline(value, color=COLOURS[2], linestyle=dashes, linewidth=1, label=name)
        everything = [record.metrics[metric] for group in members for record in group.records]
        if max(everything) > 5 * min(everything):  # a logarithm of less has no room for its numbers
            panel.set_xscale("log")
        panel.set_title(task)
        panel.set_xlabel("ESR on held-out rows")
        panel.set_yticks(range(len(names)), names)
    legend(figure, axes)
    return figure


def kept(results: Path, groups: Sequence[Group]) -> dict[tuple[str, str], Arrays]:
    """Return the curves that runs left beside their records, by task and contestant."""
    paths = {path.stem: path for path in sorted(results.rglob("curves/*.npz"))}
    found: dict[tuple[str, str], Arrays] = {}
    for record in (record for group in groups for record in group.records):
        path = paths.get(_name(record))
        if path is not None:
            with np.load(path) as file:
                found[record.config["task"], record.config["contestant"]] = dict(file)
    return found


def _name(record: Record) -> str:
    config = record.config
    label = f"{config['task']}-{config['contestant']}-{config['budget']}"
    return Run(experiment=record.experiment, label=label, config=config, seed=record.seed).name


def transfer(curves: Mapping[tuple[str, str], Arrays]) -> Drawn | None:
    """Draw what models make of every key, and the truth, one panel a task."""
    static = {names: arrays for names, arrays in curves.items() if "truth" in arrays and names[1] in DRAWN}
    tasks = list(dict.fromkeys(task for task, _ in static))
    if not tasks:
        return None
    figure, axes = new_figure(len(tasks))
    for panel, task in zip(axes, tasks, strict=True):
        mine = {name: arrays for (other, name), arrays in static.items() if other == task}
        truth = next(iter(mine.values()))
        panel.plot(truth["true_key"], truth["truth"], ".", color=FAINT, markersize=5, label="truth")
        for name in (name for name in DRAWN if name in mine):
            style = DRAWN.index(name)
            colour, dashes = COLOURS[style % len(COLOURS)], DASHES[style % len(DASHES)]
            panel.plot(mine[name]["key"], mine[name]["said"], color=colour, linestyle=dashes, lw=1.2, label=name)
        panel.set_title(task)
        panel.set_xlabel("input")
        panel.set_ylim(-1.3, 1.3)
    axes[0].set_ylabel("output")
    legend(figure, axes)
    return figure


def hearts(curves: Mapping[tuple[str, str], Arrays], rate: float) -> Drawn | None:
    """Draw seconds of the unseen subject's heart, and what models make of them, one panel a task."""
    signals = {names: arrays for names, arrays in curves.items() if "unseen_truth" in arrays and names[1] in DRAWN}
    tasks = list(dict.fromkeys(task for task, _ in signals))
    if not tasks:
        return None
    figure, axes = new_figure(len(tasks))
    for panel, task in zip(axes, tasks, strict=True):
        mine = {name: arrays for (other, name), arrays in signals.items() if other == task}
        for place, (name, arrays) in enumerate(
            [("truth", {"unseen_said": next(iter(mine.values()))["unseen_truth"]}), *mine.items()]
        ):
            if name in ("truth", "switch", "plain-total"):
                said = arrays["unseen_said"][: int(SHOWN_S * rate)]
                colour = FAINT if name == "truth" else COLOURS[0 if name == "switch" else 1]
                panel.plot(np.arange(len(said)) / rate, said, color=colour, lw=1.2, label=name, zorder=2 - place)
        panel.set_title(f"{task}, unseen subject")
        panel.set_xlabel("seconds")
    axes[0].set_ylabel("ECG, peak 1")
    legend(figure, axes)
    return figure


def ranges(groups: Sequence[Group], part: str) -> Drawn | None:
    """Draw each range's share of the error, median over seeds, one panel a task, one line a contestant."""
    mark = f"{part}_" if part else ""
    tasks = {
        task: [group for group in members if middle(group, f"rows_{mark}range_0") is not None]
        for task, members in by_task(groups).items()
    }
    tasks = {task: members for task, members in tasks.items() if members}
    if not tasks:
        return None
    names = list(dict.fromkeys(group.config["contestant"] for members in tasks.values() for group in members))
    figure, axes = new_figure(len(tasks))
    for panel, (task, members) in zip(axes, tasks.items(), strict=True):
        for group in members:
            style = names.index(group.config["contestant"])
            shares = {i: middle(group, f"esr_{mark}range_{i}") for i in range(64)}
            found = {i: share for i, share in shares.items() if share is not None}
            panel.plot(
                list(found),
                list(found.values()),
                color=COLOURS[style % len(COLOURS)],
                linestyle=DASHES[(style + style // len(COLOURS)) % len(DASHES)],
                marker=".",
                label=group.config["contestant"],
            )
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(task)
        panel.set_xlabel("range")
    axes[0].set_ylabel("share of the ESR")
    legend(figure, axes)
    return figure


def journeys(groups: Sequence[Group], truth: Mapping[str, Sequence[float]]) -> Drawn | None:
    """Draw where learnt points were along the run, all seeds, and where they truly are."""
    tasks = by_task([group for group in groups if group.config["contestant"] == "switch-learnt-near"])
    if not tasks:
        return None
    figure, axes = new_figure(len(tasks))
    for panel, (task, members) in zip(axes, tasks.items(), strict=True):
        for record in (record for group in members for record in group.records):
            for i in range(1, len(truth[task]) - 1):
                path = [(point["samples"], point[f"point_{i}"]) for point in record.curve if f"point_{i}" in point]
                if path:
                    panel.plot(*zip(*path, strict=True), color=COLOURS[0], alpha=0.6, lw=1)
        for i, point in enumerate(truth[task][1:-1]):
            panel.axhline(point, color=COLOURS[1], linestyle="--", lw=1, label="true point" if i == 0 else None)
        panel.set_title(task)
        panel.set_xlabel("training samples")
    axes[0].set_ylabel("learnt points")
    legend(figure, axes)
    return figure
