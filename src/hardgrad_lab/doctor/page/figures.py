"""The figures of the doctor: direction, errors and cost at a glance; direction against time; a bridge over training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad_lab.doctor.page.table import noise_of, tone_of
from hardgrad_lab.doctor.record import Diagnosis, Row
from hardgrad_lab.doctor.watched import Watched
from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, FAINT_TEXT, INK, MARK_TEXT, Drawn, legend, sized_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 9.6  # inches; the page's width
GOOD, BAD = COLOURS[0], COLOURS[1]
EXACT = "exact"  # without noise or bias it would hide who is best among the rest, where outcomes are too many for it
LEAST = 1e-3  # of the truth: an error that small is drawn at the edge


def overview(diagnosis: Diagnosis) -> Drawn:
    """Draw, for each candidate, its direction, its errors and its cost."""
    rows = [row for row in diagnosis.rows if row.error is None][::-1]
    figure, panels = sized_figure(WIDE, 1.3 + 0.27 * len(rows), 3)
    _direction(panels[0], rows)
    _errors(panels[1], rows)
    _cost(panels[2], rows)
    names = [row.name for row in rows]
    for panel in panels:
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.set_yticks(range(len(rows)), names)
        panel.tick_params(axis="y", length=0, labelleft=panel is panels[0])
        panel.minorticks_off()  # dozens of them on a logarithmic axis, which say nothing here
        panel.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
        panel.set_axisbelow(True)
    for label, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        if tone_of(row) == "uphill":
            label.set_color(MARK_TEXT)
            label.set_fontweight("bold")
    legend(figure, panels)
    return figure


def _direction(panel: Axes, rows: Sequence[Row]) -> None:
    cosines = [c for row in rows for c in (row.cosine, row.cosine_of_one) if c is not None]
    left = min([-0.35, *(c - 0.12 for c in cosines)])
    panel.axvspan(left, 0, color=BAD, alpha=0.12, linewidth=0)
    panel.axvline(0, color=BAD, linewidth=1)
    panel.text(left / 2, len(rows) - 0.45, "uphill", color=MARK_TEXT, ha="center", va="bottom")
    for y, row in enumerate(rows):
        if row.flat:
            panel.text(0.5, y, "no gradient", color=FAINT_TEXT, ha="center", va="center")
            continue
        if row.cosine_of_one is not None:
            label = "one gradient" if "one gradient" not in panel.get_legend_handles_labels()[1] else None
            panel.plot(row.cosine_of_one, y, "o", mfc="none", mec=INK, ms=7, label=label)
        if row.cosine is None:
            panel.text(0.5, y, "lost in its noise", color=FAINT_TEXT, ha="center", va="center")
            continue
        colour = BAD if row.uphill else GOOD
        label = "average gradient" if "average gradient" not in panel.get_legend_handles_labels()[1] else None
        panel.errorbar(
            row.cosine, y, xerr=2 * (row.cosine_error or 0), fmt="v" if row.uphill else "o", color=colour, ms=7,
            elinewidth=1.5, capsize=3, label=None if row.uphill else label,
        )  # fmt: skip
    panel.set_xlim(left, 1.08)
    panel.set_xlabel("cosine with the true gradient")


def _errors(panel: Axes, rows: Sequence[Row]) -> None:
    shown = [(row.bias if row.biased else None, noise_of(row)) for row in rows if not row.flat]
    seen = [error for pair in shown for error in pair if error is not None and error > LEAST]
    low, high = 10 ** math.floor(math.log10(min([0.1, *seen]))), max([1.0, *seen]) * 2
    panel.set_xscale("log")
    panel.set_xlim(low, high)
    panel.axvline(1, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    for y, row in enumerate(rows):
        noise = noise_of(row)
        if row.flat or row.bias is None or noise is None:
            continue
        found = row.biased
        if found:
            panel.plot(max(row.bias, low), y, "s", color=BAD, ms=7, label="bias" if _new(panel, "bias") else None)
        if noise > LEAST:
            panel.plot(
                noise, y, "D", mfc="none", mec=GOOD, mew=1.6, ms=6, label="noise" if _new(panel, "noise") else None
            )
        elif not found:
            panel.text(low * 1.15, y, "exact", color=FAINT_TEXT, va="center")
    panel.set_xlabel("error / length of the truth")


def _new(panel: Axes, label: str) -> bool:
    return label not in panel.get_legend_handles_labels()[1]


def _cost(panel: Axes, rows: Sequence[Row]) -> None:
    times = [1e6 * (row.seconds or math.nan) for row in rows]
    panel.set_xscale("log")
    known = [time for time in times if math.isfinite(time)]
    if not known:  # stopped before anything was timed, or all refused
        panel.text(0.5, 0.5, "not timed", transform=panel.transAxes, color=FAINT, ha="center", va="center", fontsize=9)
        panel.set_xticks([])
        return
    low = 10 ** math.floor(math.log10(min(known) / 1.5))
    panel.set_xlim(low, max(known) * 6)
    panel.hlines(range(len(rows)), low, times, color=INK, linewidth=4, alpha=0.35)
    for y, (row, time) in enumerate(zip(rows, times, strict=True)):
        calls = "" if row.evaluations is None else f"{row.evaluations:.3g} f"
        panel.text(time * 1.15, y, calls, va="center")
    panel.set_xlabel("time of one gradient, us")


def budget(diagnosis: Diagnosis) -> Drawn:
    """Draw how well each candidate points when its gradients are averaged for as long as a given time."""
    usable = [row for row in diagnosis.rows if row.error is None and not row.flat and row.cosine is not None]
    figure, (panel,) = sized_figure(WIDE, 4.2)
    fastest = min((row.seconds or 1.0 for row in usable), default=1.0)
    times = np.logspace(0, 4, 161)
    curves = {row.name: _over_time(row, times * fastest / (row.seconds or fastest)) for row in usable}
    for number, name in enumerate(best := _best_somewhere(curves)):
        panel.plot(times, curves[name], color=COLOURS[0 if not number else (number + 1) % len(COLOURS)], linewidth=2.2,
                   linestyle=DASHES[number % len(DASHES)], label=name, zorder=3)  # fmt: skip
    for row in (row for row in usable if row.name not in best):
        label = "points uphill" if row.uphill else "the others"
        style = (BAD, 1.4) if row.uphill else (FAINT, 0.9)
        panel.plot(
            times, curves[row.name], color=style[0], linewidth=style[1], label=label if _new(panel, label) else None
        )
    low = min([-0.05, *(row.cosine for row in usable if row.cosine is not None)]) - 0.05
    panel.axhspan(low, 0, color=BAD, alpha=0.12, linewidth=0)
    panel.axhline(0, color=BAD, linewidth=1)
    panel.set_xscale("log")
    panel.set_xlim(1, times[-1])
    panel.set_ylim(low, 1.05)
    panel.set_xlabel(f"time, in gradients of the fastest ({1e6 * fastest:.0f} us)")
    panel.set_ylabel("cosine of the average with the truth")
    legend(figure, [panel])
    return figure


def _best_somewhere(curves: dict[str, np.ndarray]) -> list[str]:
    """The names that are ahead of all others for some time, in the order of that time; enumeration runs beside them."""
    names = [name for name in curves if name != EXACT]
    together = np.nan_to_num(np.array([curves[name] for name in names]), nan=-2)
    winners = [names[i] for i in together.argmax(0)] if names else []
    return [*([EXACT] if EXACT in curves else []), *dict.fromkeys(winners)]


def _over_time(row: Row, count: np.ndarray) -> np.ndarray:
    """The cosine of a mean of so many gradients; NaN where there is not time for one."""
    return np.where(count >= 1, _cosine_of_mean(row, np.maximum(count, 1)), np.nan)


def _cosine_of_mean(row: Row, count: np.ndarray) -> np.ndarray:
    """The cosine of a mean of n gradients: what is left of the cosine of the expected one under noise / sqrt(n)."""
    ratio, noise = row.norm_ratio or 0.0, noise_of(row) or 0.0
    length = np.sqrt(ratio**2 + noise**2 / count)
    return (row.cosine or 0.0) * ratio / np.maximum(length, 1e-12)


def watch(runs: Sequence[Watched]) -> Drawn:
    """Draw how the gradients that bridges lend relate to the truth while their networks train."""
    figure, (direction, length, imitation) = sized_figure(WIDE, 3.0, 3)
    for number, run in enumerate(runs):
        looks = [look for look in run.sightings if look.relative_error is not None]
        calls = [look.call for look in looks]
        style: dict[str, Any] = {"color": COLOURS[2 * number], "linestyle": DASHES[number], "linewidth": 2}
        cosine = np.array([math.nan if look.cosine is None else look.cosine for look in looks])
        spread = np.array([2 * (look.cosine_error or 0) for look in looks])
        direction.fill_between(
            calls, cosine - spread, cosine + spread, color=COLOURS[2 * number], alpha=0.25, linewidth=0
        )
        direction.plot(calls, cosine, label=run.layer, **style)
        length.plot(calls, [look.norm_ratio or math.nan for look in looks], **style)
        imitation.plot(calls, [look.imitation_error or math.nan for look in looks], **style)
    direction.axhline(0, color=BAD, linewidth=1)
    low = min(-0.1, direction.get_ylim()[0])
    direction.axhspan(low, 0, color=BAD, alpha=0.12, linewidth=0)
    direction.set_ylim(low, 1.05)
    direction.set_ylabel("cosine with the smoothed truth")
    length.axhline(1, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    length.set_yscale("log")
    length.set_ylabel("length, of the truth's")
    imitation.set_ylim(0, None)
    imitation.set_ylabel("error of the imitated values")
    for panel in (direction, length, imitation):
        panel.set_xlabel("step of training")
    legend(figure, [direction])
    return figure
