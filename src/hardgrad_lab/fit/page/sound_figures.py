"""The figures of a sound's wave: from afar, and near."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.drawing.figures import COLOURS, FAINT, INK, Drawn, legend, sized_figure
from hardgrad_lab.drawing.palette import colour_of, dashes_of
from hardgrad_lab.fit.page.sound import Sound
from hardgrad_lab.fit.page.spectra import WIDE

COLUMNS = 600  # of a wave seen from afar: each is drawn from its least sample to its greatest
NEAR_S = 0.02
SWINGS = 30  # that can be told apart


def wave(sound: Sound) -> Drawn:
    """Draw all stretches as envelopes: the box in one panel and the error in another, on the same scale."""
    figure, panels = sized_figure(WIDE, 3.0, 2)
    truth = np.concatenate([each.truth for each in sound.stretches])
    wrong = np.concatenate([each.predicted for each in sound.stretches]) - truth
    joints = np.cumsum([len(each.truth) for each in sound.stretches])[:-1] / sound.rate
    top = 1.05 * max(float(np.abs(truth).max()), float(np.abs(wrong).max()), 1e-9)
    for panel, values, colour, name in (
        (panels[0], truth, FAINT, "the box's output"),
        (panels[1], wrong, COLOURS[1], "the model less the box"),
    ):
        seconds, low, high = _envelope(values, sound.rate)
        panel.fill_between(seconds, low, high, color=colour, linewidth=0.5)
        for joint in joints:
            panel.axvline(joint, color=INK, linewidth=0.6, linestyle=(0, (3, 3)))
        panel.set_ylim(-top, top)
        panel.set_xlabel("seconds of what is played above")
        panel.set_ylabel(name)
    return figure


def near(sound: Sound) -> Drawn:
    """Draw some milliseconds where the box's output moves most, each sample in the colour of its range."""
    loud = sound.loudest
    length = min(int(NEAR_S * sound.rate), len(loud.truth))
    moves = np.concatenate([[0.0], np.cumsum(np.square(np.diff(loud.truth, prepend=loud.truth[0])))])
    begin = int((moves[length:] - moves[:-length]).argmax())
    swings = np.flatnonzero(np.diff(np.sign(loud.truth[begin : begin + length])))
    length = int(swings[SWINGS]) if len(swings) > SWINGS else length
    part = slice(begin, begin + length)
    louder = np.sqrt(np.square(loud.truth[part]).sum() / max(float(np.square(loud.dry[part]).sum()), 1e-20))
    figure, (panel,) = sized_figure(WIDE, 3.4)
    ms = 1000 * np.arange(length) / sound.rate
    name = f"dry, {20 * np.log10(louder):+.1f} dB" if louder else "dry"
    panel.plot(ms, (louder or 1.0) * loud.dry[part], color=FAINT, linewidth=1, linestyle=":", label=name)
    panel.plot(ms, loud.truth[part], color=FAINT, linewidth=2.8, label="the box")
    ranged = any(each.index.any() for each in sound.stretches)
    for i in map(int, np.unique(loud.index[part])):
        mine = np.where(loud.index[part] == i, loud.predicted[part], np.nan)
        style: Any = {
            "linestyle": dashes_of(i),
            "linewidth": 1.2,
            "marker": "." if length < 300 else "",
            "markersize": 3,
        }
        panel.plot(ms, mine, color=colour_of(i), label=f"the model, range {i + 1}" if ranged else "the model", **style)
    panel.set_xlabel(f"milliseconds after {loud.begin + begin / sound.rate:.3f} s of {loud.file}")
    panel.set_ylabel("output")
    legend(figure, [panel])
    return figure


def _envelope(
    values: NDArray[np.float64], rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times in seconds and the least and the greatest sample about each."""
    edges = np.unique(np.linspace(0, len(values), min(COLUMNS, len(values)) + 1).astype(np.int64))[:-1]
    low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    return edges / rate, low, high
