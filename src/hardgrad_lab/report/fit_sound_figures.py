"""The figures of a sound: its wave from afar and near, and where in the spectrum the error is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.report.figures import COLOURS, FAINT, Drawn, legend, sized_figure
from hardgrad_lab.report.fit_sound import Sound
from hardgrad_lab.report.palette import colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 9.6  # inches; the page's width
COLUMNS = 600  # of a wave seen from afar: each is drawn from its least sample to its greatest
NEAR_S = 0.02
WINDOW = 4096  # samples of one spectrum
FLOOR_DB = -120.0


def wave(sound: Sound) -> Drawn:
    """Draw the whole stretch as envelopes, the box above and the error below it on the same scale."""
    figure, panels = sized_figure(WIDE, 3.0, 2)
    for panel, values, colour, name in (
        (panels[0], sound.truth, FAINT, "the box"),
        (panels[1], sound.predicted - sound.truth, COLOURS[1], "the error"),
    ):
        seconds, low, high = _envelope(values, sound.rate)
        panel.fill_between(sound.begin + seconds, low, high, color=colour, linewidth=0.5, label=name)
        panel.set_xlabel("seconds")
    top = 1.05 * max(float(np.abs(sound.truth).max()), 1e-9)
    for panel in panels:
        panel.set_ylim(-top, top)
    panels[0].set_ylabel("the box's output")
    panels[1].set_ylabel("the model less the box")
    return figure


def near(sound: Sound) -> Drawn:
    """Draw some milliseconds where the box's output moves most, each sample in the colour of its range."""
    length = min(int(NEAR_S * sound.rate), len(sound.truth))
    moves = np.concatenate([[0.0], np.cumsum(np.square(np.diff(sound.truth, prepend=sound.truth[0])))])
    begin = int((moves[length:] - moves[:-length]).argmax())
    part = slice(begin, begin + length)
    figure, (panel,) = sized_figure(WIDE, 3.4)
    ms = 1000 * np.arange(length) / sound.rate
    panel.plot(ms, sound.dry[part], color=FAINT, linewidth=1, linestyle=":", label="dry")
    panel.plot(ms, sound.truth[part], color=FAINT, linewidth=2.8, label="the box")
    for i in np.unique(sound.index[part]):
        mine = np.where(sound.index[part] == i, sound.predicted[part], np.nan)
        panel.plot(ms, mine, color=colour_of(int(i)), linewidth=1.2, marker=".", markersize=3, label=_named(int(i)))
    panel.set_xlabel(f"milliseconds after {sound.begin + begin / sound.rate:.3f} s")
    panel.set_ylabel("output")
    legend(figure, [panel])
    return figure


def _named(i: int) -> str:
    return f"the model, range {i + 1}"


def spectrum(sound: Sound) -> Drawn:
    """Draw the level of the box, of the model and of the error over the frequency."""
    from scipy.signal import welch

    figure, (panel,) = sized_figure(WIDE, 3.4)
    size = min(WINDOW, len(sound.truth))
    lines = (
        ("the box", sound.truth, FAINT, 2.8),
        ("the model", sound.predicted, COLOURS[0], 1.3),
        ("the error", sound.predicted - sound.truth, COLOURS[1], 1.3),
    )
    for name, values, colour, width in lines:
        frequency, power = welch(values, fs=sound.rate, nperseg=size)
        _level(panel, frequency, power, colour=colour, width=width, name=name)
    panel.set_xscale("log")
    panel.set_xlim(max(20.0, sound.rate / size), sound.rate / 2)
    panel.set_xlabel("frequency, Hz")
    panel.set_ylabel("level, dB of full scale per Hz")
    legend(figure, [panel])
    return figure


def _level(
    panel: Axes, frequency: NDArray[np.float64], power: NDArray[np.float64], *, colour: str, width: float, name: str
) -> None:
    level = np.maximum(10 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)
    panel.plot(frequency[1:], level[1:], color=colour, linewidth=width, label=name)


def _envelope(
    values: NDArray[np.float64], rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times in seconds and the least and the greatest sample about each."""
    edges = np.unique(np.linspace(0, len(values), min(COLUMNS, len(values)) + 1).astype(np.int64))[:-1]
    low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    return edges / rate, low, high
