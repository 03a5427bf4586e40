"""The figures of a fit: transfer curve, errors and visits by range, truth against prediction, the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad_lab.report.figures import COLOURS, INK, legend, sized_figure
from hardgrad_lab.report.fit_story import Dots, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 9.6  # inches; the page's width
FAINT = "#8a8f94"  # the truth: readable on white and on near-black
NAMED = 12  # ranges that a legend or an axis can name


def colour(i: int) -> str:
    """Return a range's colour; neighbours always differ."""
    return COLOURS[i % len(COLOURS)]


def transfer(story: Story) -> Figure:
    """Draw the target and the prediction against the key, in the colour of the range that each row took."""
    figure, (panel,) = sized_figure(WIDE, 4.4)
    dots, line = story.dots, story.line
    panel.plot(dots.x, dots.truth, ".", color=FAINT, markersize=3, alpha=0.6, label="truth", zorder=1)
    for i, label in enumerate(story.labels):
        shown = line if line is not None else dots
        mine = shown.index == i
        style: dict[str, Any] = (
            {"linestyle": "-", "linewidth": 2.2} if line is not None else {"marker": ".", "linestyle": "none"}
        )
        name = label if len(story.labels) <= NAMED else None
        panel.plot(shown.x[mine], shown.predicted[mine], color=colour(i), markersize=4, label=name, zorder=3, **style)
    _edges(panel, story)
    panel.set_xlabel(f"{story.key} (key)")
    panel.set_ylabel(story.target)
    legend(figure, [panel])
    return figure


def by_range(story: Story) -> Figure:
    """Draw the error and the rows of each range."""
    figure, (errors, visits) = sized_figure(WIDE, 3.6, 2)
    places = range(len(story.labels))
    colours = [colour(i) for i in places]
    shown = [0.0 if rmse is None else rmse for rmse in story.switch.ranges]
    errors.bar(places, shown, color=colours, width=0.7, label="switch")
    if (rival := story.rival) is not None:
        marks = [(i, rmse) for i, rmse in enumerate(rival.ranges) if rmse is not None]
        errors.plot(*zip(*marks, strict=True), "_", color=INK, markersize=18, markeredgewidth=2, label=rival.name)
        legend(figure, [errors])
    errors.set_ylabel("RMSE on test rows")
    visits.bar(places, story.visits, color=colours, width=0.7)
    visits.set_ylabel("training rows")
    for panel in (errors, visits):
        _name_ranges(panel, story.labels)
    return figure


def agreement(story: Story) -> Figure:
    """Draw the prediction against the truth; and the rivals' errors beside the switch's."""
    figure, panels = sized_figure(WIDE, 3.9, 2 if len(story.scores) > 1 else 1)
    panel, dots = panels[0], story.dots
    low, high = float(dots.truth.min()), float(dots.truth.max())
    panel.plot([low, high], [low, high], color=FAINT, linewidth=1)
    for i in range(len(story.labels)):
        mine = dots.index == i
        panel.plot(dots.truth[mine], dots.predicted[mine], ".", color=colour(i), markersize=3, alpha=0.7)
    panel.set_xlabel(f"{story.target}, truth")
    panel.set_ylabel(f"{story.target}, predicted")
    if len(panels) > 1:
        _rivals(panels[1], story)
    return figure


def training(story: Story) -> Figure:
    """Draw the loss over the epochs, and the held-out loss of each range."""
    has_ranges = any("ranges" in point for point in story.curve)
    figure, panels = sized_figure(WIDE, 3.4, 2 if has_ranges else 1)
    epochs = [point["epoch"] for point in story.curve]
    panels[0].plot(epochs, [point["loss"] for point in story.curve], color=INK, linewidth=1.2, label="training")
    if has_ranges:
        held_out = [point["held_out"] for point in story.curve]
        panels[0].plot(epochs, held_out, color=COLOURS[1], linewidth=1.6, label="held out")
        if story.best_epoch:
            best = story.curve[story.best_epoch - 1]["held_out"]
            panels[0].plot([story.best_epoch], [best], "o", color=COLOURS[1], label="kept")
        for i in range(len(story.labels)):
            values = [np.nan if point["ranges"][i] is None else point["ranges"][i] for point in story.curve]
            panels[1].plot(epochs, values, color=colour(i), linewidth=1.4)
        panels[1].set_ylabel("held-out loss by range")
    panels[0].set_ylabel("loss, in squared deviations")
    panels[0].legend(frameon=False, fontsize=9)
    for panel in panels:
        panel.set_xlabel("epoch")
        if _all_positive(panel):
            panel.set_yscale("log")
    return figure


def over_time(story: Story, dots: Dots) -> Figure:
    """Draw a stretch of the truth and the prediction, coloured by the range that each row took."""
    figure, (panel,) = sized_figure(WIDE, 3.2)
    panel.plot(dots.x, dots.truth, color=FAINT, linewidth=2.5, label="truth")
    for i, label in enumerate(story.labels):
        mine = np.where(dots.index == i, dots.predicted, np.nan)
        name = label if len(story.labels) <= NAMED and np.isfinite(mine).any() else None
        panel.plot(dots.x, mine, color=colour(i), linewidth=1.2, marker=".", markersize=3, label=name)
    panel.set_xlabel(story.clock)
    panel.set_ylabel(story.target)
    legend(figure, [panel])
    return figure


def _edges(panel: Axes, story: Story) -> None:
    low, high = panel.get_xlim()
    for point in story.points:
        if low < point < high:
            panel.axvline(point, color=FAINT, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
    panel.set_xlim(low, high)


def _name_ranges(panel: Axes, labels: Sequence[str]) -> None:
    if len(labels) > 2 * NAMED:
        panel.set_xlabel("range")
        return
    slanted = sum(map(len, labels)) > 40
    panel.set_xticks(
        range(len(labels)),
        labels,
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        fontsize=8 if slanted else 10,
    )


def _rivals(panel: Axes, story: Story) -> None:
    scores = sorted(story.scores, key=lambda score: -score.rmse)
    shades = [COLOURS[0] if score is story.switch else FAINT for score in scores]
    panel.barh([score.name for score in scores], [score.rmse for score in scores], color=shades, height=0.65)
    for height, score in enumerate(scores):
        panel.text(score.rmse, height, f" {score.rmse:.3g}", va="center", fontsize=9)
    panel.set_xlabel("RMSE on test rows")
    panel.margins(x=0.15)


def _all_positive(panel: Axes) -> bool:
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in panel.get_lines()])
    return bool((values[np.isfinite(values)] > 0).all())
