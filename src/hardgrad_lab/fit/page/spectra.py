"""Where in the spectrum a sound is, and where the error: mean levels, and spectrograms on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad_lab.drawing.figures import COLOURS, FAINT, Drawn, grid_figure, legend, sized_figure
from hardgrad_lab.fit.page.sound import Array, Sound

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 9.6  # inches; the page's width
WINDOW = 4096  # samples of one spectrum
FLOOR_DB = -120.0
SHORT_S = 0.04  # of one column's spectrum
COLUMNS, ROWS = 240, 96  # of a picture
LOWEST_HZ = 40.0
DEEP_DB = 80.0  # below the loudest place of a picture: all that is softer looks alike


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


def _level(panel: Axes, parts: Sequence[Array], rate: int, size: int, **style: Any) -> None:
    from scipy.signal import welch  # not for every report

    found = [welch(part, fs=rate, nperseg=size) for part in parts]
    power = np.mean([each for _, each in found], axis=0)
    level = np.maximum(10 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)
    panel.plot(found[0][0][1:], level[1:], **style)


def spectrograms(sound: Sound) -> Drawn:
    """Draw dry, box, model and error as pictures of one scale: time to the right, frequency upwards."""
    played = zip(*(stretch.parts() for stretch in sound.stretches), strict=True)
    pictures = [_picture(parts, sound.rate) for parts in played]
    top = max(float(each.max()) for each in pictures)
    seconds = sum(len(each.dry) for each in sound.stretches) / sound.rate
    figure, lines = grid_figure(2, 2)
    panels = [panel for line in lines for panel in line]
    ends = np.log10([LOWEST_HZ, sound.rate / 2])
    images = []
    for panel, picture, name in zip(panels, pictures, ("dry", "the box", "the model", "the error"), strict=True):
        image = panel.imshow(
            picture - top, origin="lower", aspect="auto", interpolation="none", cmap="magma", vmin=-DEEP_DB, vmax=0,
            extent=(0, seconds, *ends),
        )  # fmt: skip
        images.append(image)
        panel.set_title(name)
        decades = [hz for hz in (100, 1000, 10_000) if hz < sound.rate / 2]
        panel.set_yticks(np.log10(decades), [f"{hz:,}" if hz < 1000 else f"{hz // 1000}k" for hz in decades])
    for line in lines:
        line[0].set_ylabel("frequency, Hz")
    for panel in lines[-1]:
        panel.set_xlabel("seconds of what is played")
    figure.panels = panels
    figure.colorbar(images[0], ax=panels, label="level, dB below the loudest", shrink=0.7)
    return figure


def _picture(stretches: Sequence[Array], rate: int) -> Array:
    """Return levels in dB, (ROWS, columns), of frequencies evenly apart in octaves; no window spans a joint."""
    from scipy.signal import spectrogram

    total = sum(map(len, stretches))
    size = min(max(16, round(SHORT_S * rate)), 2 * min(map(len, stretches)) - 2)
    step = max(size // 4, -(-total // COLUMNS))
    wanted, columns = np.geomspace(LOWEST_HZ, rate / 2, ROWS), []
    for stretch in stretches:
        whole = np.pad(stretch, size // 2, mode="reflect")
        hz, _, power = spectrogram(whole, fs=rate, nperseg=size, noverlap=max(0, size - step))
        shown = power[:, :: max(1, step // size)]
        columns += [np.interp(wanted, hz, column) for column in 10 * np.log10(np.maximum(shown, 1e-20)).T]
    return np.stack(columns, axis=1)
