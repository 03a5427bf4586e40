"""The figures of a sound: its wave from afar and near, and where in the spectrum the error is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.drawing.figures import COLOURS, FAINT, INK, Drawn, legend, sized_figure
from hardgrad_lab.drawing.palette import colour_of, dashes_of
from hardgrad_lab.fit.page.sound import Sound

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 9.6  # inches; the page's width
COLUMNS = 600  # of a wave seen from afar: each is drawn from its least sample to its greatest
NEAR_S = 0.02
WINDOW = 4096  # samples of one spectrum
FLOOR_DB = -120.0


def wave(sound: Sound) -> Drawn:
    """Draw all stretches as envelopes: the box in one panel and the error in another, on the same scale."""
    figure, panels = sized_figure(WIDE, 3.0, 2)
    truth = np.concatenate([each.truth for each in sound.stretches])
    wrong = np.concatenate([each.predicted for each in sound.stretches]) - truth
    joints = np.cumsum([len(each.truth) for each in sound.stretches])[:-1] / sound.rate
    top = 1.05 * max(float(np.abs(truth).max()), 1e-9)
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
    part = slice(begin, begin + length)
    figure, (panel,) = sized_figure(WIDE, 3.4)
    ms = 1000 * np.arange(length) / sound.rate
    panel.plot(ms, loud.dry[part], color=FAINT, linewidth=1, linestyle=":", label="dry")
    panel.plot(ms, loud.truth[part], color=FAINT, linewidth=2.8, label="the box")
    for i in map(int, np.unique(loud.index[part])):
        mine = np.where(loud.index[part] == i, loud.predicted[part], np.nan)
        style: Any = {"linestyle": dashes_of(i), "linewidth": 1.2, "marker": ".", "markersize": 3}
        panel.plot(ms, mine, color=colour_of(i), label=f"the model, range {i + 1}", **style)
    panel.set_xlabel(f"milliseconds after {loud.begin + begin / sound.rate:.3f} s of {loud.file}")
    panel.set_ylabel("output")
    legend(figure, [panel])
    return figure


def spectrum(sound: Sound) -> Drawn:
    """Draw the level of the box, of the model and of the error over the frequency, mean over the stretches."""
    figure, (panel,) = sized_figure(WIDE, 3.4)
    size = min(WINDOW, max(len(each.truth) for each in sound.stretches))
    parts = [each for each in sound.stretches if len(each.truth) >= size]
    lines = (
        ("the box", [each.truth for each in parts], FAINT, 2.8),
        ("the model", [each.predicted for each in parts], COLOURS[0], 1.3),
        ("the error", [each.predicted - each.truth for each in parts], COLOURS[1], 1.3),
    )
    for name, values, colour, width in lines:
        _level(panel, values, sound.rate, size, color=colour, linewidth=width, label=name)
    panel.set_xscale("log")
    panel.set_xlim(max(20.0, sound.rate / size), sound.rate / 2)
    panel.set_xlabel("frequency, Hz")
    panel.set_ylabel("level, dB of full scale per Hz")
    legend(figure, [panel])
    return figure


def _level(panel: Axes, parts: Sequence[NDArray[np.float64]], rate: int, size: int, **style: Any) -> None:
    from scipy.signal import welch  # not for every report

    found = [welch(part, fs=rate, nperseg=size) for part in parts]
    power = np.mean([each for _, each in found], axis=0)
    level = np.maximum(10 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)
    panel.plot(found[0][0][1:], level[1:], **style)


def _envelope(
    values: NDArray[np.float64], rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times in seconds and the least and the greatest sample about each."""
    edges = np.unique(np.linspace(0, len(values), min(COLUMNS, len(values)) + 1).astype(np.int64))[:-1]
    low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    return edges / rate, low, high
