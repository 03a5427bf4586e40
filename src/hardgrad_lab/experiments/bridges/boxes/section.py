"""The page of the boxes: who came how near at equal calls, run by run along them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, legend, new_figure
from hardgrad_lab.drawing.section import Drawing, Section, Table
from hardgrad_lab.experiments.bridges.boxes import TRAINED
from hardgrad_lab.experiments.switches.table import by_contestant, by_task, middle, spread
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, Group
from hardgrad_lab.runs.reported import groups_of
from hardgrad_lab.runs.setting import setting
from hardgrad_lab.runs.words import say_duration

ABOUT = (
    "A network before a box, trained so that what comes out of the box is what a hidden network before the same box "
    "made; or one that sets the ten knobs of a chain of plug-ins. The box is a program without a gradient, and may be "
    "called equally often whatever stands in for it. ESR on other recordings: energy of the error in that of the target."
)
LEGEND = (
    "ESR: median of n seeds, least to greatest in brackets; each seed has a target of its own. Calls: rows that the box "
    "computed in training. lr: chosen of three on a seed that is not shown. none: the network as it starts; gain: the "
    "same, each row at the volume that suits it best."
)
GLANCE = "ESR at the small budget: median of the seeds, least to greatest in brackets. Lower is better."
HEADINGS = ("box", "gradient", "ESR", "calls", "time", "lr", "scale", "n")
NEEDS = ("esr", "box_calls", "lr")


def page(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the page of the experiment."""
    del results  # the records hold the curves
    groups, warnings = groups_of(experiment, found, NEEDS)
    return Section(
        anchor=experiment.name,
        title=experiment.parts[0].title,
        about=ABOUT,
        command=f"reproduce {experiment.name}",
        headings=HEADINGS,
        numeric=tuple(range(2, len(HEADINGS))),
        cells=[_row(experiment, group) for group in groups],
        legend=LEGEND,
        drawn=[along(groups)] if groups else [],
        warnings=warnings,
        groups=groups,
        measure="Error-to-signal ratio at equal calls of the box",
        glance=_glance(experiment, groups),
    )


def brief(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return the section on the page of all experiments: the errors of the small budget."""
    made = page(experiment, found, results)
    if made.glance is None:
        return []
    short = made.glance
    return [
        Section(
            anchor=made.anchor,
            title=made.title,
            about=ABOUT,
            command=f"report {experiment.name}",
            headings=short.headings,
            numeric=short.numeric,
            cells=short.cells,
            legend=short.legend,
            warnings=made.warnings,
            groups=made.groups,
        )
    ]


def along(groups: Sequence[Group]) -> Drawing:
    """Draw the error over the calls, the median of the seeds, one panel a box."""
    tasks = by_task(groups)
    figure, axes = new_figure(len(tasks))
    for panel, (task, members) in zip(axes, tasks.items(), strict=True):
        for group in members:
            name = group.config["contestant"]
            curves = [record.curve for record in group.records]
            points = [(at[0]["calls"], statistics.median(one["esr"] for one in at)) for at in zip(*curves, strict=False)]
            if name in TRAINED:
                style = TRAINED.index(name)
                panel.plot(*zip(*points, strict=True), color=COLOURS[style], ls=DASHES[style % len(DASHES)], label=name)
            else:
                panel.axhline(points[-1][1], color=FAINT, linestyle=DASHES[name == "gain"], label=name)
        panel.set_yscale("log")
        panel.set_title(task)
        panel.set_xlabel("rows computed by the box")
    axes[0].set_ylabel("ESR on held-out rows")
    legend(figure, axes)
    return Drawing(name="boxes-along", title="Error over calls", caption="Median of the seeds.", figure=figure)


def _row(experiment: Experiment, group: Group) -> list[str]:
    kind = setting(experiment, group)
    return [
        group.config["task"] + ("" if kind == "small" else f", {kind}"),
        group.config["contestant"],
        spread([record.metrics["esr"] for record in group.records]),
        f"{middle(group, 'box_calls'):,.0f}",
        say_duration(statistics.median(record.seconds for record in group.records)),
        f"{group.config['lr']:g}",
        " ".join(f"{each:.2g}" for each in group.config["scale"]),
        str(group.n),
    ]


def _glance(experiment: Experiment, groups: Sequence[Group]) -> Table | None:
    headings, cells = by_contestant(experiment, groups)
    return Table(headings=headings, numeric=tuple(range(1, len(headings))), cells=cells, legend=GLANCE) if cells else None
