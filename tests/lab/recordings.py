"""Made-up recordings in the layout of the real ones, and the experiments on switches at the smoke budget."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.ecg import ECG, RATE
from hardgrad_lab.experiments.switches.ecg.run import BREATHS
from hardgrad_lab.experiments.switches.piecewise import PIECEWISE
from hardgrad_lab.experiments.switches.rows import Rows
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.waveshaper import WAVESHAPER
from hardgrad_lab.experiments.switches.waveshaper.run import FOLDER, TESTS, TRAIN

SWITCHES = {experiment.name: experiment for experiment in (PIECEWISE, ECG, WAVESHAPER)}
SECONDS = 3


def make(folder: Path) -> None:
    """Write hearts of three seconds and sounds of 6,000 samples."""
    random = np.random.default_rng(0)
    for subject, room in (("001", "TrainData"), ("020", "TestData")):
        for breath in BREATHS:
            for take in (1, 2, 3, 4):
                _heart(folder / "lactose" / room / f"{subject}_{breath}{take}", take, random)
    for name in (*TRAIN, *TESTS.values()):
        time = np.arange(6000) / 44_100
        tone = np.sin(2 * np.pi * 220 * time) * np.exp(-3 * time)
        path = folder / FOLDER / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack([tone, 0.5 * tone], axis=1) * 0.8, 44_100)


def _heart(path: Path, take: int, random: np.random.Generator) -> None:
    time = np.arange(int(SECONDS * RATE)) / RATE
    beat = np.exp(-(((time * 1.2) % 1 - 0.5) ** 2) / 0.002)
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind, (center, late) in {"bcg": (2, 12), "ecg": (1, 0), "voc": (1, 3)}.items():
        values = center + np.roll(beat, late) * (1 + 0.1 * take) + 0.02 * random.standard_normal(len(time))
        path.with_name(f"{path.name}_{kind}.csv").write_text("\n".join(f"{value:.14f}" for value in values) + "\n")


def smoke(name: str, task: str, contestant: str = "switch", **given: Any) -> Setup:
    """Return a configuration at the smoke budget."""
    setup: Setup = SWITCHES[name].configure("smoke", task, contestant, given)
    return setup


def rows_of(setup: Setup, seed: int, folder: Path | None = None) -> Rows:
    """Return the rows of a run, from recordings in a folder."""
    module = import_module(f"hardgrad_lab.experiments.switches.{setup.experiment}.run")
    rows: Rows = module.rows_of(setup, seed, Root(folder=folder))
    return rows
