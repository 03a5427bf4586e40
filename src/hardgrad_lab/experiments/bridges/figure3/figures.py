"""Figure 3: the hard signum, what the network makes of it, and its gradient, at three times of the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from hardgrad_lab.drawing.figures import COLOURS, INK, grid_figure, legend
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.runs.experiment import BUDGETS
from hardgrad_lab.runs.kept import Arrays, kept_files, read_arrays
from hardgrad_lab.runs.records import Group

DOTS = 130  # of the outputs; each is an element of the page
TIMES = ("near the beginning", "midway", "at the end")


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figure of the first seed of the largest budget that left its curves; none where none did."""
    for group in sorted(groups, key=lambda group: -BUDGETS.index(group.config["budget"])):
        files = kept_files(results, group, "curves")
        if files:
            seed = min(files)
            return [_drawing(group, seed, read_arrays(files[seed]))]
    return []


def _drawing(group: Group, seed: int, arrays: Arrays) -> Drawing:
    figure, (above, below) = grid_figure(2, len(TIMES))
    for time, title in enumerate(TIMES):
        _panels(above[time], below[time], {name: values[time] for name, values in arrays.items()}, title)
    above[0].set_ylabel("value")
    below[0].set_ylabel("gradient")
    legend(figure, [*above, *below])
    return Drawing(
        name="figure3",
        title="A network fits a hard signum",
        caption=f"Outputs (above) and gradients (below) on an even grid of x: budget {group.config['budget']}, seed "
        f"{seed}. The hard function's own gradient is 0 wherever there is one.",
        figure=figure,
    )


def _panels(above: Axes, below: Axes, at: Arrays, title: str) -> None:
    x = at["x"]
    some = slice(None, None, max(1, len(x) // DOTS))
    jumps = np.flatnonzero(np.diff(at["hard"])) + 1
    above.plot(np.insert(x, jumps, np.nan), np.insert(at["hard"], jumps, np.nan), color=INK, label="hard function")
    above.plot(x[some], at["output"][some], ".", color=COLOURS[0], markersize=4, label="network")
    below.plot(x, at["gradient"], color=COLOURS[1], label="gradient of the network")
    above.set_title(f"{title}: step {int(at['step']):,}")
    below.set_xlabel("x")
