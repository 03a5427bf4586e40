"""Figure 8, middle: how far from sorted the input of the sort is along the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.figures import INK, legend, sized_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.along import BAND, DOT, lines, settings
from hardgrad_lab.experiments.bridges.conditioning import CONDITIONING
from hardgrad_lab.runs.records import Group

CAPTION = (
    "First: what has to be carried along rows and columns to sort them. Second: the same as a share of the worst; "
    "the dotted line is random order. In program the penalty trains the approximator alone, in text the layers before "
    "too."
)


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return a figure for each setting of the largest budget in which both contestants ran; of one, without the other.

    It shows the distance, the disorder alone, and what the network is worth.
    """
    del results  # the records hold the curves
    if not groups:
        return []
    found = settings(CONDITIONING, groups)
    both = {name: shown for name, shown in found.items() if len(shown) == len(CONDITIONING.contestants)}
    return [_drawing(place, name, shown) for place, (name, shown) in enumerate((both or found).items())]


def _drawing(place: int, name: str, shown: Sequence[Group]) -> Drawing:
    figure, panels = sized_figure(9.5, 4.0, 3)
    measures = {"emd": "earth mover's distance", "disorder": "disorder", "accuracy": "test accuracy, %"}
    for panel, (measure, title) in zip(panels, measures.items(), strict=True):
        lines(panel, CONDITIONING, shown, measure, 100 if measure == "accuracy" else 1, dot=True)
        panel.set_ylabel(title)
    panels[1].axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    legend(figure, panels)
    _, _, changed = name.partition(", ")
    return Drawing(
        name="conditioning-emd" + (f"-{place + 1}" if place else ""),
        title="Figure 8, middle: how far from sorted, along the run" + (f"; {changed}" if changed else ""),
        caption=f"Budget {name}, mean over seeds. {BAND} {DOT} {CAPTION}",
        figure=figure,
    )
