"""The page of the circuits with breaks: the figures, where learned points went, and sounds to compare by ear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from hardgrad_lab.drawing.clips import clip_of_file
from hardgrad_lab.drawing.figures import COLOURS, Drawn, legend, new_figure
from hardgrad_lab.drawing.section import Drawing, Section, Sound
from hardgrad_lab.experiments.switches.figures import curves_of, error_figure, range_figure, transfer_figure
from hardgrad_lab.experiments.switches.section import page_of
from hardgrad_lab.experiments.switches.table import Columns, by_task
from hardgrad_lab.experiments.switches.waveshaper import PLAYED
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, Group

INTRODUCTION = (
    "A distortion box bends a sound differently where it is loud than where it is quiet: its curve has breaks. "
    "Here models learn such curves from real guitars and drums, and are tested on other recordings. A switch has "
    "one small network for each piece between two breaks; its rivals are single networks of the same size. The "
    "error is the ESR, the energy of what is wrong in the energy of the sound: 0.01 is one per cent."
)
DETAILS = (
    "Circuits by formula, driven by guitars and drums. The switch has the true points. Points 30 % off stay "
    "(switch-wrong), are placed anew every so often in training, with ranges that move to where one is missing "
    "(switch-learnt), or learn by the gradient that rows near them lend (switch-lent). Points off by 30 % of the "
    "narrower range beside each, where that is less, stay (switch-near) or are placed and moved "
    "(switch-learnt-near). switch-searched has points found in the training rows.",
    "Points off: the worst one's distance to the truth, as a share of it. A switch that places its points draws "
    "its rows evenly over its ranges. condition-input and film are given the true ranges, too.",
)
COLUMNS = Columns(parts=("guitar", "drums"), rate=44_100.0, points=True)


def page(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the page of the experiment."""
    section = page_of(
        experiment, found, results, introduction=INTRODUCTION, columns=COLUMNS, draw=draw, details=DETAILS
    )
    return replace(section, sounds=sounds(experiment, results))


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figures."""
    figure, title = journeys(groups), "Points that find their way back"
    return [
        error_figure(groups, "esr"),
        *transfer_figure(curves_of(groups, results)),
        *([Drawing(name="points", title=title, caption="Every seed.", figure=figure)] if figure else []),
        *range_figure(groups),
    ]


def sounds(experiment: Experiment, results: Path) -> list[Sound]:
    """Return the clips that runs left: for each test sound, before and after the circuit, and as models have it."""
    paths = {path.stem: path for path in results.rglob("audio/*.wav")}
    made = []
    for task, part in product(experiment.tasks, COLUMNS.parts):
        files = {player: paths.get(f"{task}-{part}-{player}") for player in ("dry", "target", *PLAYED)}
        clips = [clip_of_file(player, path) for player, path in files.items() if path is not None]
        made += [Sound(name=f"{task}, {part}", clips=clips)] if clips else []
    return made


def journeys(groups: Sequence[Group]) -> Drawn | None:
    """Draw where learnt points were along the run, all seeds, and where they truly are."""
    tasks = by_task([group for group in groups if group.config["contestant"] == "switch-learnt-near"])
    truth = {task: _true_points(members) for task, members in tasks.items()}
    if not tasks:
        return None
    figure, axes = new_figure(len(tasks))
    for panel, (task, members) in zip(axes, tasks.items(), strict=True):
        for record in (record for group in members for record in group.records):
            for i in range(1, len(truth[task]) - 1):
                path = [(point["samples"], point[f"point_{i}"]) for point in record.curve if f"point_{i}" in point]
                if path:
                    panel.plot(*zip(*path, strict=True), color=COLOURS[0], alpha=0.6, lw=1)
        for i, point in enumerate(truth[task][1:-1]):
            panel.axhline(point, color=COLOURS[1], linestyle="--", lw=1, label="true point" if i == 0 else None)
        panel.set_title(task)
        panel.set_xlabel("training samples")
    axes[0].set_ylabel("learnt points")
    legend(figure, axes)
    return figure


def _true_points(groups: Sequence[Group]) -> list[float]:
    """Return the true points of a task, which the record of a run with other points has beside its own."""
    for group in groups:
        metrics = group.records[0].metrics
        points = [metrics[f"true_point_{i}"] for i in range(64) if f"true_point_{i}" in metrics]
        if points:
            return points
    return []
