"""Figure 8, middle: how far from sorted the input of the sort is along the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.dab.conditioning import CONDITIONING
from hardgrad_lab.report.dab_figures.along import BAND, largest_budget, lines
from hardgrad_lab.report.figures import INK, legend, sized_figure
from hardgrad_lab.report.page import Drawing
from hardgrad_lab.report.records import Group


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figure of the largest budget that was run: the distance, and the disorder alone."""
    del results  # the records hold the curves
    if not groups:
        return []
    budget, shown = largest_budget(groups)
    figure, panels = sized_figure(9.5, 4.0, 3)
    for panel, measure, title in zip(
        panels, ("emd", "disorder", "accuracy"), ("earth mover's distance", "disorder", "test accuracy, %"), strict=True
    ):
        lines(panel, CONDITIONING, shown, measure, 100 if measure == "accuracy" else 1)
        panel.set_ylabel(title)
    panels[1].axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    legend(figure, panels)
    caption = (
        f"Budget {budget}, mean over seeds. {BAND} Left: what has to be carried along rows and columns to sort them. "
        "Middle: the same as a share of the worst order; the dotted line is random order. In `program` the penalty "
        "trains the approximator alone, in `text` the layers before too."
    )
    title = "Figure 8, middle: does the penalty condition the layers before the sort?"
    return [Drawing(name="conditioning-emd", title=title, caption=caption, figure=figure)]
