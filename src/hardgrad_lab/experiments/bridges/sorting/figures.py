"""The figures of neural sorting: accuracy against samples, and against ponder steps (figure 6)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from hardgrad_lab.drawing.figures import COLOURS, DASHES, Drawn, legend, new_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.sorting import PUBLISHED, SORTING, SYSTEMS
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import setting as setting_of


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the accuracy along the runs, and what pondering changes where something pondered."""
    del results  # the records hold the curves
    pondering = ponders(groups)
    drawn = [_along(groups)] if groups else []
    return [*drawn, *([] if pondering is None else [pondering])]


def curves(groups: Sequence[Group]) -> Drawn:
    """Draw test accuracy against training samples, one panel a length, one line a run that did not ponder."""
    groups = [group for group in groups if not group.config["ponder"]] or groups
    lengths = sorted({group.config["length"] for group in groups})
    figure, axes = new_figure(len(lengths))
    variants = _variants(groups)
    for panel, length in zip(axes, lengths, strict=True):
        _curve_panel(panel, length, [group for group in groups if group.config["length"] == length], variants)
    axes[0].set_ylabel("all-or-none test accuracy, %")
    legend(figure, axes)
    return figure


def _variants(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Return the settings of each system, in one order for all panels, since they share a legend."""
    found: dict[str, set[str]] = {}
    for group in groups:
        found.setdefault(group.config["system"], set()).add(describe_setting(group))
    return {system: sorted(found[system]) for system in SYSTEMS if system in found}


def _curve_panel(panel: Axes, length: int, groups: Sequence[Group], variants: dict[str, list[str]]) -> None:
    for group in sorted(
        groups, key=lambda group: (list(variants).index(group.config["system"]), describe_setting(group))
    ):
        system, setting = group.config["system"], describe_setting(group)
        colour = COLOURS[list(SYSTEMS).index(system)]
        dashes = DASHES[variants[system].index(setting) % len(DASHES)]
        for number, record in enumerate(group.records):
            points = [(point["samples"], 100 * point["accuracy"]) for point in record.curve]
            label = f"{system}, {setting}" if number == 0 else None
            panel.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.4, label=label)
    for system in dict.fromkeys(group.config["system"] for group in groups):  # not a set: its order changes
        if published := PUBLISHED.get((system, length)):
            panel.axhline(published.accuracy, color=COLOURS[list(SYSTEMS).index(system)], linewidth=0.8, alpha=0.5)
    panel.set_xscale("log")
    panel.set_title(f"T = {length}")
    panel.set_xlabel("training samples")
    panel.set_ylim(-3, 103)


def ponders(groups: Sequence[Group]) -> Drawn | None:
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
