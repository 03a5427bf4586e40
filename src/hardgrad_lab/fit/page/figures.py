"""The figures of a fit: transfer curve, errors and visits by range, truth against prediction, the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from hardgrad_lab.drawing.figures import COLOURS, FAINT, INK, Drawn, legend, sized_figure
from hardgrad_lab.drawing.palette import colour_of, dashes_of, hatch_of
from hardgrad_lab.fit.page.dots import Dots
from hardgrad_lab.fit.page.story import Story
from hardgrad_lab.fit.tables import INPUT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 9.6  # inches; the page's width
LEAST_ESR = 1e-9  # that a figure shows
NAMED = 12  # ranges that a legend or an axis can name


def transfer(story: Story) -> Drawn:
    """Draw the target and the prediction against the key, in the colour of the range that each row took."""
    figure, (panel,) = sized_figure(WIDE, 4.4)
    dots, line = story.dots, story.line
    panel.plot(dots.x, dots.truth, ".", color=FAINT, markersize=3, alpha=0.6, label=story.words.truth, zorder=1)
    for i, label in enumerate(story.labels):
        shown = line if line is not None else dots
        mine = shown.index == i
        style: dict[str, Any] = (
            {"linestyle": dashes_of(i), "linewidth": 2.2}
            if line is not None
            else {"marker": _marker(i), "linestyle": "none"}
        )
        name = label if len(story.labels) <= NAMED else None
        panel.plot(
            shown.x[mine], shown.predicted[mine], color=colour_of(i), markersize=4, label=name, zorder=3, **style
        )
    if story.sound is None or story.key == INPUT:
        _edges(panel, story)
    name_key(panel, story)
    panel.set_ylabel(story.words.target)
    legend(figure, [panel])
    return figure


def by_range(story: Story) -> Drawn:
    """Draw the error and the rows of each range."""
    places, words = range(len(story.labels)), story.words
    named = len(story.labels) <= 2 * NAMED
    figure, panels = sized_figure(WIDE, 1.2 + 0.26 * len(story.labels) if named else 3.6, 2)
    whole, unit, rate = (1, words.rows, 1) if story.sound is None else (100, "seconds", story.sound.rate)
    shown = [0.0 if error is None else whole * error for error in story.switch.ranges]
    _bars(panels[0], shown, story.switch.name)
    if (rival := story.rival) is not None:
        marks = [(whole * rmse, i) for i, rmse in enumerate(rival.ranges) if rmse is not None]
        panels[0].plot(*zip(*marks, strict=True), "|", color=INK, markersize=12, markeredgewidth=2, label=rival.name)
        legend(figure, [panels[0]])
    panels[0].set_xlabel(f"{words.measure}{'' if whole == 1 else ', %'} on test {words.rows}")
    _bars(panels[1], [visits / rate for visits in story.visits], None)
    panels[1].set_xlabel(f"training {unit}")
    for panel in panels:
        panel.set_ylim(len(story.labels) - 0.4, -0.6)  # the lowest range on top, as in the table
        if named:
            panel.set_yticks(places, story.labels)
            panel.tick_params(axis="y", length=0, labelleft=panel is panels[0])
    if not named:
        panels[0].set_ylabel("range")
    return figure


def _bars(panel: Axes, lengths: Sequence[float], label: str | None) -> None:
    bars = panel.barh(range(len(lengths)), lengths, height=0.7, label=label)
    for i, bar in enumerate(bars):
        bar.set_facecolor(colour_of(i))
        bar.set_hatch(hatch_of(i))
        bar.set_edgecolor(INK if hatch_of(i) else colour_of(i))
        bar.set_linewidth(0)


def agreement(story: Story) -> Drawn:
    """Draw the prediction against the truth, and its error against the key."""
    figure, (panel, errors) = sized_figure(WIDE, 3.9, 2)
    dots = story.dots
    low, high = float(dots.truth.min()), float(dots.truth.max())
    panel.plot([low, high], [low, high], color=FAINT, linewidth=1)
    errors.axhline(0, color=FAINT, linewidth=1)
    for i in range(len(story.labels)):
        mine = dots.index == i
        style: dict[str, Any] = {"color": colour_of(i), "markersize": 3, "alpha": 0.7}
        panel.plot(dots.truth[mine], dots.predicted[mine], _marker(i), **style)
        errors.plot(dots.x[mine], dots.predicted[mine] - dots.truth[mine], _marker(i), **style)
    panel.set_xlabel(story.words.target if story.sound else f"{story.target}, truth")
    panel.set_ylabel(f"{story.target}, predicted")
    name_key(errors, story)
    errors.set_ylabel(f"{story.target}, predicted less {'the box' if story.sound else 'truth'}")
    return figure


def _marker(i: int) -> str:
    """Return a mark that tells the dots of one range from those of another in the same colour."""
    return "." if not hatch_of(i) else "x+1"[i // len(COLOURS) % 3 - 1]


def training(story: Story) -> Drawn:
    """Draw the loss over the epochs, and the held-out loss of each range."""
    has_ranges = all(len(p.get("ranges", ())) == len(story.labels) > 0 for p in story.curve)
    figure, panels = sized_figure(WIDE, 3.4, 2 if has_ranges else 1)
    epochs = [point["epoch"] for point in story.curve]
    panels[0].plot(epochs, [point["loss"] for point in story.curve], color=INK, linewidth=1.2, label="training")
    if all("held_out" in point for point in story.curve):
        held_out = [point["held_out"] for point in story.curve]
        panels[0].plot(epochs, held_out, color=COLOURS[1], linewidth=1.6, label="held out")
        if story.best_epoch:
            best = story.curve[story.best_epoch - 1]["held_out"]
            panels[0].plot([story.best_epoch], [best], "o", color=COLOURS[1], label="kept")
    if has_ranges:
        for i in range(len(story.labels)):
            values = [np.nan if point["ranges"][i] is None else point["ranges"][i] for point in story.curve]
            panels[1].plot(epochs, values, color=colour_of(i), linestyle=dashes_of(i), linewidth=1.4)
        panels[1].set_ylabel("held-out loss by range")
    panels[0].set_ylabel("error, of the energy" if story.device else story.words.loss)
    panels[0].legend(frameon=False, fontsize=9)
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if _all_positive(panel):
            panel.set_yscale("log")
    return figure


def over_time(story: Story, dots: Dots) -> Drawn:
    """Draw a stretch of the truth and the prediction, coloured by the range that each row took."""
    figure, (panel,) = sized_figure(WIDE, 3.2)
    panel.plot(dots.x, dots.truth, color=FAINT, linewidth=2.5, label="truth")
    for i, label in enumerate(story.labels):
        mine = np.where(dots.index == i, dots.predicted, np.nan)
        name = label if len(story.labels) <= NAMED and np.isfinite(mine).any() else None
        panel.plot(dots.x, mine, color=colour_of(i), linewidth=1.2, marker=".", markersize=3, label=name)
    panel.set_xlabel(story.clock)
    panel.set_ylabel(story.target)
    legend(figure, [panel])
    return figure


def name_key(panel: Axes, story: Story) -> None:
    """Say what the level axis is; where the key is words, each in its place."""
    panel.set_xlabel(INPUT if story.sound else f"{story.words.key} (key)")
    if "category" in story.origin and len(story.labels) <= NAMED:
        panel.set_xticks(range(len(story.labels)), story.labels, rotation=90 if sum(map(len, story.labels)) > 40 else 0)


def _edges(panel: Axes, story: Story) -> None:
    low, high = panel.get_xlim()
    for point in story.points:
        if low < point < high:
            panel.axvline(point, color=FAINT, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
    panel.set_xlim(low, high)


def rivals(story: Story) -> Drawn:
    """Draw the error of the switch and of everything it is compared with, the best on top."""
    figure, (panel,) = sized_figure(WIDE * 0.7, 0.9 + 0.3 * len(story.scores))
    scores = sorted(story.scores, key=lambda score: -score.error)
    shades = [COLOURS[0] if score is story.switch else FAINT for score in scores]
    errors = [score.error if story.sound is None else 100 * max(score.error, LEAST_ESR) for score in scores]
    left = min(errors) / 3 if story.sound else 0.0
    panel.barh([each.name for each in scores], [e - left for e in errors], left=left, color=shades, height=0.65)
    for height, (score, error) in enumerate(zip(scores, errors, strict=True)):
        panel.text(error, height, f" {score.said if story.sound else format(error, '.3g')}", va="center")
    panel.set_xlabel(f"{story.words.measure}{', %' if story.sound else ''} on test {story.words.rows}")
    if story.sound:
        panel.set_xscale("log")
        panel.set_xlim(left, 30 * max(errors))
    else:
        panel.margins(x=0.15)
    return figure


def _all_positive(panel: Axes) -> bool:
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in panel.get_lines()])
    return bool((values[np.isfinite(values)] > 0).all())
