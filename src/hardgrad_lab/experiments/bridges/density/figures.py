"""Figure 9: the test bound over the epochs, all contestants, and how far it stays below the training rows'."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from hardgrad_lab.drawing.figures import COLOURS, DASHES, INK, legend, sized_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.along import largest_budget
from hardgrad_lab.experiments.bridges.density import DENSITY
from hardgrad_lab.runs.records import Group

BELOW = 8.0  # nats below the lowest end of a line that a panel shows: the first epochs would flatten the rest
ABOVE = 3.0


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return one figure a task: its runs of the largest budget that anybody ran, at equal configuration."""
    del results  # the records hold the curves
    drawings = []
    for task in DENSITY.tasks:
        mine = [group for group in groups if group.config["task"] == task]
        if mine:
            drawings.append(_drawing(task, *largest_budget(DENSITY, mine)))
    return drawings


def _drawing(task: str, budget: str, groups: list[Group]) -> Drawing:
    figure, (bound, gap) = sized_figure(9.0, 4.0, 2)
    for group in groups:
        style = _style(str(group.config["contestant"]))
        label = str(group.config["contestant"]) + (f" (n={group.n})" if group.n > 1 else "")
        bound.plot(_mean(group, "epoch"), _mean(group, "bound"), label=label, **style)
        gap.plot(_mean(group, "epoch"), _mean(group, "gap"), label=label, **style)
    levels = _levels(bound, task)
    ends = [_mean(group, "bound")[-1] for group in groups]
    bound.set_ylim(min(ends + levels) - BELOW, max(ends + levels) + ABOVE)
    bound.set_ylabel("test bound, nats")
    gap.axhline(0, color=INK, linewidth=0.6)
    gap.set_ylabel("bound of training rows less test bound, nats")
    for panel in (bound, gap):
        panel.set_xlabel("epoch")
    legend(figure, [bound, gap])
    return Drawing(
        name=f"density-{task}",
        title=f"{task}: the bound along the run",
        caption=f"Budget {budget}, mean over seeds. Dotted: the best bounds that the paper reports, DAB's after "
        f"{_epochs(task)} epochs. Lines may leave the first panel below."
        if levels
        else f"Budget {budget}, mean over seeds; the paper has no numbers for this task.",
        figure=figure,
    )


def _levels(panel: Axes, task: str) -> list[float]:
    """Draw the published bounds as dotted lines, and return them."""
    levels: list[float] = []
    for (where, name), numbers in DENSITY.published.items():
        if where == task:
            level = numbers["best_bound"].value
            panel.axhline(level, color=INK, linewidth=0.9, linestyle=":")
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "size": 8}
            # Side by side, since the levels of two may be closer than a line of letters is high.
            at = (0.99 - 0.4 * (len(levels) % 2), level)
            text = panel.annotate(f"{name}, published", at, annotation_clip=True, color=INK, **place)
            text.set_in_layout(False)  # a level outside the panel must not shrink it
            levels.append(level)
    return levels


def _epochs(task: str) -> str:
    return format(DENSITY.published[task, "bridge"]["best_epoch"].value, ",.0f")


def _mean(group: Group, name: str) -> list[float]:
    columns = zip(*([point[name] for point in record.curve] for record in group.records), strict=True)
    return [statistics.fmean(column) for column in columns]


def _style(contestant: str) -> dict[str, Any]:
    """Return a contestant's own colour and dashes, whoever else was run."""
    i = list(DENSITY.contestants).index(contestant)
    dashes = DASHES[(i + i // len(COLOURS)) % len(DASHES)]
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": dashes, "linewidth": 1.4}
