"""The figures of neural sorting: accuracy against samples, and against ponder steps (figure 6)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from hardgrad_lab.drawing.figures import COLOURS, DASHES, Drawn, legend, new_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.sorting import PUBLISHED, SORTING, not_pondering
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import setting

ORDER = list(SORTING.contestants)


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the accuracy along the runs, and what pondering changes where something pondered."""
    caption = "One line a run, measured on held-out rows. Thin level lines are published numbers. No run that pondered."
    along = Drawing(name="sorting", title="Accuracy against training samples", caption=caption, figure=_curves(groups))
    return [along, *draw_pondering(groups, results)]


def draw_pondering(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the best accuracy against ponder steps, as figure 6; nothing where nothing pondered."""
    del results  # the records hold the curves
    if len(not_pondering(groups)) == len(groups):
        return []
    caption = "Best accuracy of a run, mean and standard deviation, as in figure 6 of the paper."
    return [Drawing(name="sorting-ponder", title="Effect of pondering", caption=caption, figure=_ponders(groups))]


def _curves(groups: Sequence[Group]) -> Drawn:
    """Draw test accuracy against training samples, one panel a length, one line a run that did not ponder."""
    groups = not_pondering(groups) or groups
    lengths = sorted({group.config["task"] for group in groups}, key=SORTING.place)
    figure, axes = new_figure(len(lengths))
    variants = _variants(groups)
    for panel, length in zip(axes, lengths, strict=True):
        _curve_panel(panel, length, [group for group in groups if group.config["task"] == length], variants)
    axes[0].set_ylabel("all-or-none test accuracy, %")
    legend(figure, axes)
    return figure


def _variants(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Return the settings of each system, in one order for all panels, since they share a legend."""
    found: dict[str, set[str]] = {}
    for group in groups:
        found.setdefault(group.config["contestant"], set()).add(setting(SORTING, group))
    return {system: sorted(found[system]) for system in ORDER if system in found}


def _curve_panel(panel: Axes, length: str, groups: Sequence[Group], variants: dict[str, list[str]]) -> None:
    groups = sorted(groups, key=lambda group: (ORDER.index(group.config["contestant"]), setting(SORTING, group)))
    for group in groups:
        system, variant = group.config["contestant"], setting(SORTING, group)
        dashes = DASHES[variants[system].index(variant) % len(DASHES)]
        for number, record in enumerate(group.records):
            points = [point for point in record.curve if {"samples", "accuracy"} <= point.keys()]
            samples, percents = [point["samples"] for point in points], [100 * point["accuracy"] for point in points]
            label = f"{system}, {variant}" if number == 0 else None
            panel.plot(samples, percents, color=_colour(system), linestyle=dashes, linewidth=1.4, label=label)
    for system in dict.fromkeys(group.config["contestant"] for group in groups):  # not a set: its order changes
        if published := PUBLISHED.get((length, system)):
            panel.axhline(100 * published["accuracy"].value, color=_colour(system), linewidth=0.8, alpha=0.5)
    panel.set_xscale("log")
    panel.set_title(f"T = {length}")
    panel.set_xlabel("training samples")
    panel.set_ylim(-3, 103)


def _colour(system: str) -> str:
    return COLOURS[ORDER.index(system)]


def _ponders(groups: Sequence[Group]) -> Drawn:
    """Draw the best test accuracy against ponder steps, mean and spread, one panel a length."""
    pondering = {group.config["task"] for group in groups if group.config.get("ponder")}
    figure, axes = new_figure(len(pondering))
    for panel, length in zip(axes, sorted(pondering, key=SORTING.place), strict=True):
        chosen = [g for g in groups if g.config["contestant"] == "signum-rnn" and g.config["task"] == length]
        _ponder_panel(panel, length, chosen)
    axes[0].set_ylabel("best all-or-none test accuracy, %")
    legend(figure, axes)
    return figure


def _ponder_panel(panel: Axes, length: str, groups: Sequence[Group]) -> None:
    kinds: dict[str, list[Group]] = {}
    for group in groups:
        # Runs that differ in their ponder steps alone share a line.
        key = setting(SORTING, group).replace(f", ponder {group.config['ponder']}", "")
        kinds.setdefault(f"{key}, {group.config['samples']:,} samples", []).append(group)
    for number, (label, members) in enumerate(sorted(kinds.items())):
        members = sorted(members, key=lambda group: int(group.config["ponder"]))
        best = [[100 * record.metrics["best_accuracy"] for record in group.records] for group in members]
        panel.errorbar(
            [group.config["ponder"] for group in members],
            [statistics.fmean(values) for values in best],
            yerr=[statistics.stdev(values) if len(values) > 1 else 0.0 for values in best],
            color=COLOURS[number % len(COLOURS)],
            marker="o",
            capsize=3,
            label=label,
        )
    panel.set_title(f"T = {length}")
    panel.set_xlabel("ponder steps")
