"""The figures of neural sorting: accuracy against samples, and against ponder steps (figure 6)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardgrad_lab.dab.sorting import PUBLISHED, SYSTEMS
from hardgrad_lab.report.figures import COLOURS, DASHES, legend, new_figure
from hardgrad_lab.report.records import Group
from hardgrad_lab.report.sorting_table import describe_setting


def curves(groups: Sequence[Group]) -> Figure:
    """Draw test accuracy against training samples, one panel a length, one line a run that did not ponder."""
    groups = [group for group in groups if not group.config["ponder"]] or groups
    lengths = sorted({group.config["length"] for group in groups})
    figure, axes = new_figure(len(lengths))
    for panel, length in zip(axes, lengths, strict=True):
        _curve_panel(panel, length, [group for group in groups if group.config["length"] == length])
    axes[0].set_ylabel("all-or-none test accuracy, %")
    legend(figure, axes)
    return figure


def _curve_panel(panel: Axes, length: int, groups: Sequence[Group]) -> None:
    systems = list(SYSTEMS)
    variants: dict[str, int] = {}
    for group in sorted(groups, key=lambda group: (systems.index(group.config["system"]), describe_setting(group))):
        system = group.config["system"]
        colour = COLOURS[systems.index(system)]
        dashes = DASHES[variants.setdefault(system, 0) % len(DASHES)]
        variants[system] += 1
        for number, record in enumerate(group.records):
            points = [(point["samples"], 100 * point["accuracy"]) for point in record.curve]
            label = f"{system}, {describe_setting(group)}" if number == 0 else None
            panel.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.4, label=label)
        published = PUBLISHED.get((system, length))
        if published is not None and variants[system] == 1:
            panel.axhline(published.accuracy, color=colour, linewidth=0.8, alpha=0.5)
    panel.set_xscale("log")
    panel.set_title(f"T = {length}")
    panel.set_xlabel("training samples")
    panel.set_ylim(-3, 103)


def ponders(groups: Sequence[Group]) -> Figure | None:
    """Draw the best test accuracy against ponder steps, mean and spread, as figure 6; None where nothing pondered."""
    pondering = {group.config["length"] for group in groups if group.config["ponder"]}
    if not pondering:
        return None
    figure, axes = new_figure(len(pondering))
    for panel, length in zip(axes, sorted(pondering), strict=True):
        chosen = [g for g in groups if g.config["system"] == "signum-rnn" and g.config["length"] == length]
        _ponder_panel(panel, length, chosen)
    axes[0].set_ylabel("best all-or-none test accuracy, %")
    legend(figure, axes)
    return figure


def _ponder_panel(panel: Axes, length: int, groups: Sequence[Group]) -> None:
    kinds: dict[str, list[Group]] = {}
    for group in groups:
        # Runs that differ in their ponder steps alone share a line.
        key = describe_setting(group).replace(f", ponder {group.config['ponder']}", "")
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
