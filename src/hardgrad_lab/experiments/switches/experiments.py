"""Which module draws the rows of which experiment."""

from __future__ import annotations

from pathlib import Path

from hardgrad_lab.experiments.switches import ecg, piecewise, waveshaper
from hardgrad_lab.experiments.switches.data import Rows
from hardgrad_lab.experiments.switches.settings import Setup

_DRAW = {"piecewise": piecewise.rows_of, "ecg": ecg.rows_of, "waveshaper": waveshaper.rows_of}


def rows_of(setup: Setup, seed: int, folder: Path | None = None) -> Rows:
    """Return what a run trains and is tested on.

    Args:
        setup: of the run.
        seed: of the run.
        folder: of the recordings; None takes the environment variable ``HARDGRAD_DATA``.

    Raises:
        MissingDataError: if a recording is needed and not there.
    """
    return _DRAW[setup.experiment](setup, seed, folder)
