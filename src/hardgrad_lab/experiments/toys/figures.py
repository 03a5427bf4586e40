"""The figures of the toys: loss and variance along the run, and over the surveyed probabilities."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, INK, Drawn, legend, new_figure
from hardgrad_lab.experiments.toys import SURVEYED_INNER, SURVEYED_SAMPLES, SURVEYED_TEMPERATURES
from hardgrad_lab.experiments.toys.claims import gains
from hardgrad_lab.experiments.toys.table import Named

UNBIASED = (
    "exact", "score", "score-average", "score-network", "score-loo", "disarm", "arms", "rebar", "relax",
    "relax-beside-f",
)  # fmt: skip
BIASED = (
    "exact", "reinmax", "straight-through", "gumbel-soft", "gumbel-soft-0.1", "gumbel-annealed", "gumbel-hard",
    "gumbel-rao", "bridge",
)  # fmt: skip
COINS = ("exact", "score", "score-loo", "reinmax", "straight-through", "gumbel-hard", "gumbel-rao")


def along(tasks: Mapping[str, Named], names: Sequence[str], metric: str, title: str) -> Drawn | None:
    """Draw a metric against steps, mean over seeds, one panel a toy, one line an estimator; None where none was run."""
    drawn = [name for name in names if metric == "best" or name != "exact"]  # the truth does not vary
    shown = {task: {name: groups[name] for name in drawn if name in groups} for task, groups in tasks.items()}
    shown = {task: groups for task, groups in shown.items() if groups.keys() - {"exact"}}
    if not shown:
        return None
    figure, axes = new_figure(len(shown))
    for panel, (task, groups) in zip(axes, shown.items(), strict=True):
        for name, group in groups.items():
            steps = [point["step"] for point in group.records[0].curve]
            values = [[point[metric] for point in record.curve] for record in group.records]
            middle = [statistics.fmean(each) for each in zip(*values, strict=True)]
            panel.plot(steps, middle, label=name, linewidth=1.3, **_style(names.index(name)))
        panel.set_title(task)
        panel.set_xlabel("step")
    axes[0].set_ylabel(title)
    legend(figure, axes)
    return figure


def over_probability(groups: Named) -> Drawn | None:
    """Draw the variance against the surveyed probability, one panel a number of draws, one line an estimator."""
    kinds = ("score-loo", "disarm", "arms")
    counts = [n for n in SURVEYED_SAMPLES if any(f"{kind}-{n}" in groups for kind in kinds)]
    if not counts:
        return None
    figure, axes = new_figure(len(counts))
    for panel, n in zip(axes, counts, strict=True):
        for number, kind in enumerate(kinds):
            if (group := groups.get(f"{kind}-{n}")) is None:
                continue
            curve = group.records[0].curve
            points = [(point["p1"], point["log_variance"]) for point in curve]
            panel.plot(*zip(*points, strict=True), label=kind, linewidth=1.5, **_style(number + 1))
        panel.set_title(f"{n} draws")
        panel.set_xlabel("probability of 1")
    axes[0].set_ylabel("log variance")
    legend(figure, axes)
    return figure


def over_simplex(groups: Named) -> Drawn | None:
    """Draw what Gumbel-Rao saves at every surveyed point of the simplex, one panel a temperature."""
    most = max(SURVEYED_INNER)
    shown = [t for t in SURVEYED_TEMPERATURES if {f"gumbel-hard-{t}", f"gumbel-rao-{most}-{t}"} <= groups.keys()]
    if not shown:
        return None
    figure, axes = new_figure(len(shown))
    saved = {t: gains(groups, most, t) for t in shown}
    top = max(gain for points in saved.values() for _, gain in points)
    dots = None
    for panel, t in zip(axes, shown, strict=True):
        across = [point["p1"] + point["p2"] / 2 for point, _ in saved[t]]  # corners: left, right, top
        up = [point["p2"] * 3**0.5 / 2 for point, _ in saved[t]]
        dots = panel.scatter(
            across,
            up,
            c=[gain for _, gain in saved[t]],
            cmap="viridis",
            vmin=0,
            vmax=top,
            s=110,
            edgecolors=FAINT,
            linewidths=0.5,
        )
        panel.set_title(f"temperature {t}")
        panel.set_aspect("equal")
        panel.set_axis_off()
    assert dots is not None  # something is shown
    figure.colorbar(dots, ax=axes, label="powers of ten saved", shrink=0.8)
    return figure


def over_inner(groups: Named) -> Drawn | None:
    """Draw the mean variance over the simplex against the inner draws, one line a temperature."""
    shown = [t for t in SURVEYED_TEMPERATURES if all(f"gumbel-rao-{k}-{t}" in groups for k in SURVEYED_INNER)]
    if not shown:
        return None
    figure, axes = new_figure(1)
    for number, t in enumerate(shown):
        values = [
            statistics.fmean(point["log_variance"] for point in groups[f"gumbel-rao-{k}-{t}"].records[0].curve)
            for k in SURVEYED_INNER
        ]
        axes[0].plot(SURVEYED_INNER, values, marker=".", label=f"temperature {t}", **_style(number + 1))
    axes[0].set_xscale("log")
    axes[0].set_xlabel("inner draws (1 is straight-through)")
    axes[0].set_ylabel("log variance, mean over the simplex")
    legend(figure, axes)
    return figure


def _style(place: int) -> dict[str, Any]:
    """Return colour and dashes; the first place, the truth's, is in the ink of the page."""
    if place == 0:
        return {"color": INK, "linestyle": "-"}
    i = place - 1
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[(i + i // len(COLOURS)) % len(DASHES)]}
