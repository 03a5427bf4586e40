"""What the figures on classification share: a measure along the run, mean over seeds with a band of one deviation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from hardgrad_lab.drawing.figures import COLOURS, DASHES, INK, legend, sized_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.runs.experiment import BUDGETS, Experiment
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import in_short, setting

BAND = "The band is one standard deviation over seeds."
DOT = "Lines are of a part of the test rows, dots of all of them at the end."


def settings(experiment: Experiment, groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of the largest budget that anybody ran, those at equal configuration together.

    Args:
        experiment: whose they are.
        groups: at least one.

    Returns:
        By the budget and what differs from it; the setting of the most groups first, of these that of the most runs.
    """
    budget = max((group.config["budget"] for group in groups), key=BUDGETS.index)
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.config["budget"] == budget:
            found.setdefault(setting(experiment, group), []).append(group)
    by_size = sorted(found.items(), key=lambda each: (-len(each[1]), -sum(group.n for group in each[1])))
    return dict(by_size)


def largest_budget(experiment: Experiment, groups: Sequence[Group]) -> tuple[str, list[Group]]:
    """Return the first of ``settings``."""
    return next(iter(settings(experiment, groups).items()))


def lines(
    panel: Axes,
    experiment: Experiment,
    groups: Sequence[Group],
    measure: str,
    scale: float = 1.0,
    *,
    dot: bool = False,
) -> None:
    """Draw a measure against training pictures, one line a contestant, in its own colour whoever else was run.

    Args:
        panel: where to draw.
        experiment: whose contestants they are.
        groups: one for each contestant.
        measure: a name on the curve; groups without it are left out.
        scale: to multiply it by.
        dot: the last point, which is of other rows than those before it, stands apart.
    """
    names = list(experiment.contestants)
    for group in sorted(groups, key=lambda group: names.index(group.config["contestant"])):
        curves = [record.curve for record in group.records if measure in record.curve[0]]
        if not curves:
            continue
        columns = [[scale * point[measure] for point in points] for points in zip(*curves, strict=False)]
        seen = [point["samples"] for point in curves[0]][: len(columns)]
        place = names.index(group.config["contestant"])
        colour = INK if group.config["contestant"] == "identity" else COLOURS[place % len(COLOURS)]
        label = f"{group.config['contestant']}" + (f" (n={len(curves)})" if len(curves) > 1 else "")
        end = len(columns) - 1 if dot else len(columns)
        _line(panel, seen[:end], columns[:end], colour, DASHES[place % len(DASHES)], label)
        if dot:
            spread = statistics.stdev(columns[-1]) if len(curves) > 1 else None
            panel.errorbar(seen[-1], statistics.fmean(columns[-1]), spread, fmt="o", color=colour, ms=4, capsize=3)
    panel.set_xlabel("training pictures")


def _line(panel: Axes, x: list[float], columns: list[list[float]], colour: str, dashes: Any, label: str) -> None:
    """Draw the means of the columns, and a band of one standard deviation where there are several values."""
    middle = [statistics.fmean(column) for column in columns]
    panel.plot(x, middle, color=colour, linestyle=dashes, linewidth=1.5, label=label)
    if columns and len(columns[0]) > 1:
        spread = [statistics.stdev(column) for column in columns]
        low = [mean - each for mean, each in zip(middle, spread, strict=True)]
        high = [mean + each for mean, each in zip(middle, spread, strict=True)]
        panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def accuracy(experiment: Experiment, groups: Sequence[Group], title: str) -> list[Drawing]:
    """Return the figure of the test accuracy along the run; none without records."""
    if not groups:
        return []
    budget, shown = largest_budget(experiment, groups)
    figure, (panel,) = sized_figure(6.5, 4.0)
    lines(panel, experiment, shown, "accuracy", 100, dot=True)
    panel.set_ylabel("test accuracy, %")
    legend(figure, [panel])
    caption = f"Budget {in_short(budget)}, mean over seeds. {BAND} {DOT}"
    return [Drawing(name=f"{experiment.name}-accuracy", title=title, caption=caption, figure=figure)]
