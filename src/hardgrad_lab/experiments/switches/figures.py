"""The figures on switches: errors seed by seed, transfer curves, and the error range by range."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, Drawn, legend, new_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.switches.table import SOLVED, by_task, middle
from hardgrad_lab.runs.kept import Arrays, kept_files, read_arrays
from hardgrad_lab.runs.records import Group

Curves = Mapping[tuple[str, str], Arrays]  # of a run, by task and contestant
DRAWN = ("switch", "switch-wrong", "switch-learnt", "plain-total", "plain-active")


def curves_of(groups: Sequence[Group], results: Path) -> Curves:
    """Return the curves that runs left beside their records."""
    return {
        (group.config["task"], group.config["contestant"]): read_arrays(path)
        for group in groups
        for path in kept_files(results, group, "curves").values()
    }


def error_figure(groups: Sequence[Group], metric: str) -> Drawing:
    """Return every seed's error as a drawing, called ``errors``."""
    caption = "One dot a seed, a bar at the median; switches in blue."
    return Drawing(name="errors", title="Errors", caption=caption, figure=errors(groups, metric))


def transfer_figure(curves: Curves) -> list[Drawing]:
    """Return what models learned of static maps as a drawing, called ``transfer``; none where no run left a curve."""
    figure, caption = transfer(curves), "What seed 0 learnt, beside the truth."
    return [Drawing(name="transfer", title="Transfer curves", caption=caption, figure=figure)] if figure else []


def range_figure(groups: Sequence[Group], part: str = "", among: str = "") -> list[Drawing]:
    """Return each range's share of the error as a drawing, called ``ranges``; none where no record has it.

    Args:
        groups: of records.
        part: the test rows; empty for all.
        among: of whom these rows are, to stand in the title.
    """
    caption = (
        "Squared error of each range in the energy of all rows: the shares add up to the ESR. Median of the seeds."
    )
    figure, title = ranges(groups, part), "Range by range" + among
    return [Drawing(name="ranges", title=title, caption=caption, figure=figure)] if figure else []


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
        values = [record.metrics[metric] for group in members for record in group.records]
        if max(values) > 5 * min(values):  # a logarithm of less has no room for its numbers
            panel.set_xscale("log")
        panel.set_title(task)
        panel.set_xlabel("ESR on held-out rows")
        panel.set_yticks(range(len(names)), names)
    legend(figure, axes)
    return figure


def transfer(curves: Curves) -> Drawn | None:
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
            shown = {i: share for i, share in shares.items() if share is not None}
            panel.plot(
                list(shown),
                list(shown.values()),
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
