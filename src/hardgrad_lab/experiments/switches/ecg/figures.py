"""The page of the heart signals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hardgrad_lab.drawing.figures import COLOURS, FAINT, Drawn, legend, new_figure
from hardgrad_lab.drawing.section import Drawing, Section
from hardgrad_lab.experiments.switches.ecg import RATE
from hardgrad_lab.experiments.switches.figures import (
    DRAWN,
    Curves,
    curves_of,
    error_figure,
    range_figure,
    transfer_figure,
)
from hardgrad_lab.experiments.switches.section import page_of
from hardgrad_lab.experiments.switches.table import Columns
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, Group

INTRODUCTION = (
    "The electrocardiogram from the body's recoil (bcg from 80 past samples, bcg-1 from one) or from the voice "
    "(80). Subject 001 trains, with recordings held out for ESR same; ESR train is of rows that trained; subject "
    "020 is unseen and never trained on. Filters, scaling, windows and ranges are those of the published program."
)
COLUMNS = Columns(parts=("train", "same", "unseen"), rate=RATE)
SHOWN_S = 3.0


def page(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the page of the experiment."""
    return page_of(experiment, found, results, introduction=INTRODUCTION, columns=COLUMNS, draw=draw)


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figures."""
    curves = curves_of(groups, results)
    figure, caption = hearts(curves, RATE), "What seed 0 learnt."
    return [
        error_figure(groups, "esr_unseen"),
        *transfer_figure(curves),
        *([Drawing(name="hearts", title="The unseen subject", caption=caption, figure=figure)] if figure else []),
        *range_figure(groups, "unseen", ", unseen subject"),
    ]


def hearts(curves: Curves, rate: float) -> Drawn | None:
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
                shown = arrays["unseen_said"][: int(SHOWN_S * rate)]
                colour = FAINT if name == "truth" else COLOURS[0 if name == "switch" else 1]
                panel.plot(np.arange(len(shown)) / rate, shown, color=colour, lw=1.2, label=name, zorder=2 - place)
        panel.set_title(f"{task}, unseen subject")
        panel.set_xlabel("seconds")
    axes[0].set_ylabel("ECG, peak 1")
    legend(figure, axes)
    return figure
