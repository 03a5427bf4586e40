"""The figures of a fit of classes: which class rows have along the key, and which is taken for which."""

from __future__ import annotations

import numpy as np

from hardgrad_lab.drawing.figures import INK, Drawn, legend, sized_figure
from hardgrad_lab.drawing.palette import FAINT, colour_of
from hardgrad_lab.fit.page.figures import NAMED, WIDE, name_key
from hardgrad_lab.fit.page.story import Story

SPREAD = 0.3  # of a class's height, over which its marks are spread so that they do not cover each other


def by_key(story: Story) -> Drawn:
    """Draw test rows beside their class along the key: right ones as dots, wrong ones as crosses in the class taken."""
    figure, (panel,) = sized_figure(WIDE, 1.4 + 0.45 * len(story.classes))
    dots = story.dots
    height = dots.truth + np.random.default_rng(0).uniform(-SPREAD, SPREAD, len(dots.truth))
    right = dots.truth == dots.predicted
    panel.plot(dots.x[right], height[right], ".", color=FAINT, markersize=3, label="named right")
    for number, name in enumerate(story.classes):
        mine = ~right & (dots.predicted == number)
        if mine.any():
            label = f"taken for {name}" if len(story.classes) <= NAMED else None
            panel.plot(dots.x[mine], height[mine], "x", color=colour_of(number), markersize=5, label=label)
    low, high = panel.get_xlim()
    for point in story.points[1:-1]:
        if low < point < high:
            panel.axvline(point, color=FAINT, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
    panel.set_xlim(low, high)
    name_key(panel, story)
    panel.set_yticks(range(len(story.classes)), story.classes)
    legend(figure, [panel])
    return figure


def confusion(story: Story) -> Drawn:
    """Draw how many test rows of each class are taken for which; a bubble's area is their share of their class."""
    count = len(story.classes)
    figure, (panel,) = sized_figure(WIDE * 0.7, 1.2 + 0.45 * count)
    truth, predicted = (part.astype(np.int64) for part in (story.dots.truth, story.dots.predicted))
    known = truth >= 0
    table = np.zeros((count, count), dtype=np.int64)
    np.add.at(table, (truth[known], predicted[known]), 1)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    for row, column in np.argwhere(table):
        right = row == column
        size = 400 * shares[row, column] / max(1, count / 6)
        panel.scatter(column, row, s=size, color=colour_of(0 if right else 1), alpha=0.5)
        if count <= NAMED:
            panel.text(column, row, f"{table[row, column]:,}", ha="center", va="center", color=INK)
    panel.set_xticks(range(count), story.classes, rotation=90 if count > 8 else 0)
    panel.set_yticks(range(count), story.classes)
    panel.set_xlim(-0.6, count - 0.4)
    panel.set_ylim(count - 0.4, -0.6)
    panel.set_xlabel(f"{story.target}, predicted")
    panel.set_ylabel(f"{story.target}, truth")
    return figure
