"""The figure of the boxes, error over calls, and their section on the page of all experiments."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, legend, new_figure
from hardgrad_lab.drawing.section import Drawing, Section
from hardgrad_lab.experiments.bridges.boxes import GRADIENTS
from hardgrad_lab.experiments.switches.table import by_contestant, by_task
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, Group
from hardgrad_lab.runs.reported import groups_of

ABOUT = "Networks trained through real boxes, each gradient at equal calls: energy of the error in that of the target."
LEGEND = "Median of the seeds, least to greatest in brackets, on recordings that were not trained on. Lower is better."


def brief(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return the section on the page of all experiments: the errors of the small budget."""
    del results  # no figure of it is shown there
    groups, warnings = groups_of(experiment, found, ["esr"])
    headings, cells = by_contestant(experiment, groups)
    numeric = tuple(range(1, len(headings)))
    return [
        Section(
            anchor="boxes", title=experiment.parts[0].title, about=ABOUT, command="report boxes", headings=headings,
            numeric=numeric, cells=cells, legend=LEGEND, warnings=warnings, groups=groups,
        )
    ]  # fmt: skip


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Draw the error over the calls, the median of the seeds, one panel a box."""
    del results  # the records hold the curves
    tasks = by_task(groups)
    figure, axes = new_figure(len(tasks))
    for panel, (task, members) in zip(axes, tasks.items(), strict=True):
        for group in members:
            looks = list(zip(*(record.curve for record in group.records), strict=False))
            calls = [look[0]["calls"] for look in looks]
            middle = [statistics.median(one["esr"] for one in look) for look in looks]
            style = GRADIENTS.index(group.config["contestant"])
            name = group.config["contestant"]
            panel.plot(calls, middle, color=COLOURS[style], ls=DASHES[style % len(DASHES)], label=name)
        gain = statistics.median(record.metrics["esr_gain"] for record in members[0].records)
        panel.axhline(gain, color=FAINT, label="best gain")
        panel.set(yscale="log", title=task, xlabel="rows that the box computed")
    axes[0].set_ylabel("error on other recordings")
    legend(figure, axes)
    caption = "Energy of the error in that of the target, median of the seeds. Bridges see rows before they begin."
    return [Drawing(name="boxes-along", title="Error over calls", caption=caption, figure=figure)]
