"""Heart signals: the electrocardiogram (ECG) from the ballistocardiogram (BCG), and from the voice.

Subject 001 trains. Two things are tested: recordings of 001 that were held out (``same``), and subject 020, of whom
nothing is ever trained on (``unseen``). The published program trained BCG on 70 % of one recording of 001 and tested
on the rest of it, and voice on all of 001.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import signal

from hardgrad_lab.data.recordings import Signal, numbers
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.ecg import RATE
from hardgrad_lab.experiments.switches.rows import Part, Rows, part_of, some, together
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.train import reproducer

Filter = tuple[Signal, Signal]

BCG_POINTS = (-1.0, -0.6, -0.25, 0.0, 0.25, 0.75, 1.0)
VOICE_POINTS = (-1.0, -0.8, -0.6, -0.4, -0.25, 0.0, 0.25, 0.4, 0.6, 0.8, 1.0)
BREATHS = ("Normal", "Inhale", "Exhale")
HELD_OUT = 4  # of the four takes of each breath
TRAIN, TEST = "lactose/TrainData/001", "lactose/TestData/020"


def rows_of(setup: Setup, seed: int, root: Root) -> Rows:
    """Return the rows of a task.

    Args:
        setup: its task, window and number of rows.
        seed: of the choice of rows, where not all are taken.
        root: where ``lactose/`` lies.

    Raises:
        DataError: if a recording is not there, or damaged.
    """
    source = "voc" if setup.task == "voice" else "bcg"

    def recordings(prefix: str, takes: tuple[int, ...]) -> Part:
        names = [f"{prefix}_{breath}{take}" for breath in BREATHS for take in takes]
        return together([recording(root, name, source, setup.window) for name in names])

    train = recordings(TRAIN, tuple(take for take in (1, 2, 3, 4) if take != HELD_OUT))
    tests = {"same": recordings(TRAIN, (HELD_OUT,)), "unseen": recordings(TEST, (1, 2, 3, 4))}
    points = VOICE_POINTS if source == "voc" else BCG_POINTS
    return Rows(train=some(train, setup.rows, seed), tests=tests, points=points, rate=RATE)


def recording(root: Root, name: str, source: str, window: int) -> Part:
    """Return the windows of one recording, prepared as published.

    Args:
        root: where ``lactose/`` lies.
        name: such as ``lactose/TrainData/001_Normal1``.
        source: bcg or voc.
        window: samples that a row sees.
    """
    taken, heart = (numbers(root, f"{name}_{kind}.csv") for kind in (source, "ecg"))
    prepare, skipped = (_voice, 10) if source == "voc" else (_bcg, 30)
    return windows(_peak(prepare(taken)[skipped:-1]), _peak(heart[skipped:-1] - 1), window)


def windows(source: Signal, heart: Signal, window: int) -> Part:
    """Return rows of ``window`` samples and the heart one sample after them; the last sample is the key.

    As published, the sample taken at the same time as the heart is not seen, and the first row starts at sample 1.
    """
    x = np.lib.stride_tricks.sliding_window_view(source[1:-1], window).copy()
    return part_of(x, x[:, -1], heart[window + 1 :])


def _bcg(raw: Signal) -> Signal:
    # 1 to 50 Hz there and back, then a smoothing parabola over 101 samples, upside down.
    b, a = cast(Filter, signal.butter(6, [1, 50], "bandpass", fs=RATE))
    passed = signal.filtfilt(b, a, raw - 2, padlen=0)
    return np.asarray(-signal.savgol_filter(passed, 101, 2))


def _voice(raw: Signal) -> Signal:
    b, a = cast(Filter, signal.butter(8, 9, "low", fs=RATE))
    return np.asarray(signal.filtfilt(b, a, raw - 1, padlen=0))


def _peak(values: Signal) -> Signal:
    return np.asarray(values / np.abs(values).max())


reproduce = reproducer(rows_of)
