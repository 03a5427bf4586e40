"""The figures of levels: over time with the gain, and the output's level against the input's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardgrad_lab.drawing.figures import COLOURS, FAINT, INK, Drawn, legend, new_figure, sized_figure
from hardgrad_lab.drawing.palette import colour_of
from hardgrad_lab.fit.page.levels import DEEPEST_DB, FRAME_S, QUIET_DB, Levels, decibels
from hardgrad_lab.fit.page.sound import Array, Sound
from hardgrad_lab.fit.page.spectra import WIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 400  # frames of a cloud of dots
STEP_DB = 1.5  # of the curves of levels that rise and that fall
FEWEST = 5  # frames of a place of these


def over_time(sound: Sound) -> Drawn:
    """Draw the level of dry, box, model and error in steps of some milliseconds; and beside it the gains."""
    figure, (levels, gains) = sized_figure(WIDE, 3.4, 2)
    size = max(8, round(FRAME_S * sound.rate))
    played = zip(*(stretch.parts() for stretch in sound.stretches), strict=True)
    dry, wet, ours, wrong = (np.concatenate([_levels(part, size) for part in parts]) for parts in played)
    seconds = np.arange(len(dry)) * size / sound.rate
    loudest = max(float(dry.max()), float(wet.max()))
    for name, values, colour, style, width in (
        ("dry", dry, FAINT, ":", 1.2),
        ("the box", wet, FAINT, "-", 2.8),
        ("the model", ours, COLOURS[0], "-", 1.3),
        ("the error", wrong, COLOURS[1], "-", 1.0),
    ):
        levels.plot(
            seconds, np.maximum(values, loudest - QUIET_DB - 20), style, color=colour, linewidth=width, label=name
        )
    heard = dry > loudest - QUIET_DB
    for values, colour, width in ((wet, FAINT, 2.8), (ours, COLOURS[0], 1.3)):
        gains.plot(
            seconds, np.where(heard, np.maximum(values - dry, DEEPEST_DB), np.nan), color=colour, linewidth=width
        )
    levels.set_ylabel(f"level over {1000 * FRAME_S:.0f} ms, dB of full scale")
    gains.set_ylabel("gain, dB")
    for panel in (levels, gains):
        panel.set_xlabel("seconds of what is played")
    legend(figure, [levels])
    return figure


def static(sound: Sound) -> Drawn | None:
    """Draw the output's level against the input's, a panel for each place of the knob; None where there are none."""
    voices = [(voice.name, voice.levels) for voice in sound.voices if voice.levels is not None]
    if not voices:
        return None
    figure, panels = sized_figure(WIDE * 0.7, 4.4) if len(voices) == 1 else new_figure(len(voices))
    for panel, (name, seen) in zip(panels, voices, strict=True):
        _static(panel, seen, ranged=any(each.index.any() for _, each in voices))
        panel.set_title(name)
        panel.set_xlabel("input level, dB of full scale")
    panels[0].set_ylabel("output level, dB of full scale")
    legend(figure, panels)
    return figure


def _static(panel: Axes, seen: Levels, *, ranged: bool) -> None:
    some = np.linspace(0, len(seen.dry) - 1, min(SHOWN, len(seen.dry))).astype(np.int64)
    ends = np.array([seen.dry.min(), seen.dry.max()])
    panel.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=(0, (3, 3)), label="as loud as it came in")
    panel.plot(seen.dry[some], seen.wet[some], ".", color=FAINT, markersize=3, alpha=0.6, label="the box")
    for i in map(int, np.unique(seen.index)):
        mine = some[seen.index[some] == i]
        name = f"the model, range {i + 1}" if ranged else "the model"
        panel.plot(seen.dry[mine], seen.ours[mine], ".", color=colour_of(i), markersize=2, alpha=0.7, label=name)
    moves = np.gradient(seen.dry)
    for name, which, style in (("the box, level rising", moves > 0, "--"), ("the box, level falling", moves < 0, ":")):
        panel.plot(*_middle(seen.dry[which], seen.wet[which]), style, color=INK, linewidth=1, label=name)
    if seen.shape.kind in ("compressor", "gate"):
        x = np.linspace(float(ends[0]), float(ends[1]), 300)
        panel.plot(x, seen.shape.curve(x), color=INK, linewidth=1.8, label=f"a {seen.shape.kind} that fits")


def _middle(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the median of y along x, where there are enough."""
    place = np.round(x / STEP_DB).astype(np.int64)
    found = [each for each in np.unique(place) if (place == each).sum() >= FEWEST]
    return np.array(found) * STEP_DB, np.array([np.median(y[place == each]) for each in found])


def _levels(samples: Array, size: int) -> Array:
    return decibels(np.square(samples[: len(samples) // size * size].reshape(-1, size)).mean(axis=1))
