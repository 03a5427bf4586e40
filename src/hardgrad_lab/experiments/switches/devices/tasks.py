"""The recordings of each device: to train on, to choose by, and to be tested on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hardgrad_lab.audio import ladspa
from hardgrad_lab.data.pairs import MODES, Pair, drums, klon, tubetech
from hardgrad_lab.data.recordings import sound
from hardgrad_lab.data.root import Root
from hardgrad_lab.devices.recordings import Recording
from hardgrad_lab.experiments.switches.devices import THEIRS, Setup
from hardgrad_lab.runs.options import OptionError

KNOBS = (0.0, 0.25, 0.5, 0.75, 1.0)
SETTLED = 2_048  # of the Klon's 11,025 samples a clip: what came before a clip is not known
SOUNDS = ("sweep", "drumHH", "bass", "guitar", "drumKick")  # two to train on, one to choose weights by, two tests
LOOP = "loop_tabla"  # to train on; its end is a test, too
HITS, BEAT = ("drum_heavy_kick", "drum_cymbal_closed", "drum_snare_hard"), 22_050  # the other, a hit every half second
LEAD = 88_200  # samples that bring the state, before those that are measured
VARIABLE, USUAL = "LADSPA_PATH", "/usr/lib/ladspa"
PLUGINS: dict[str, tuple[str, dict[str, float]]] = {
    "gate": (
        "gate_1410.so",
        {"Threshold (dB)": -12, "Attack (ms)": 1, "Hold (ms)": 10, "Decay (ms)": 20, "Range (dB)": -60},
    ),
    "transient": ("transient_1206.so", {"Attack speed": 1.0, "Sustain time": -0.8}),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """The recordings of a device.

    Args:
        rate: samples a second.
        train: to learn from.
        held_out: to choose weights by.
        tests: by name; those of one name are as long as each other.
    """

    rate: int
    train: list[Recording]
    held_out: list[Recording]
    tests: dict[str, list[Recording]]


def task_of(setup: Setup, seed: int, root: Root) -> Task:
    """Return a task; where the contestant is a published network, its predictions stand for the dry sounds.

    Args:
        setup: of the run.
        seed: of the noise of ``gate`` and ``transient``.
        root: where ``audio/`` lies.

    Raises:
        DataError: if a recording is not there, or damaged.
        OptionError: if a plug-in is nowhere.
    """
    if setup.task == "klon":
        return _klon(root)
    if setup.task in MODES:
        network = THEIRS.get(setup.contestant, "")
        mine = [_heard(tubetech(root, setup.task, name, network), name) for name in SOUNDS]
        learned, chosen, tests = mine[:2], mine[2:3], {each.name: [each] for each in mine[3:]}
        return Task(rate=48_000, train=learned, held_out=chosen, tests=tests)
    if setup.task == "drums":
        return _task(_heard(drums(root), "end"), {})
    return _task(_played(setup, seed, root, [LOOP]), {"hits": _played(setup, seed + 1_000, root, HITS)})


def loud(task: Task) -> Task:
    """Return a task whose wet sounds are as loud as the dry ones: no model has to find a factor of twenty."""
    dry, wet = (sum(float(getattr(each, name).square().sum()) for each in task.train) for name in ("dry", "wet"))

    def scaled(recordings: Sequence[Recording]) -> list[Recording]:
        return [replace(each, wet=each.wet * (dry / wet) ** 0.5) for each in recordings]

    tests = {name: scaled(recordings) for name, recordings in task.tests.items()}
    return replace(task, train=scaled(task.train), held_out=scaled(task.held_out), tests=tests)


def _task(one: Recording, tests: dict[str, Recording]) -> Task:
    """Return a task of a recording's first 60 %; the next tenth chooses weights, the rest is a test besides others."""
    middle, last, end = (round(share * len(one.dry)) for share in (0.6, 0.7, 1.0))
    named = {one.name: [one.part(last, end, LEAD)]} | {name: [each] for name, each in tests.items()}
    train, held_out = [one.part(0, middle, 0)], [one.part(middle, last, LEAD)]
    return Task(rate=44_100, train=train, held_out=held_out, tests=named)


def _klon(root: Root) -> Task:
    clips = {knob: [_heard(pair, f"{knob}", knob, SETTLED) for pair in klon(root, knob)] for knob in KNOBS}
    few = len(clips[0.0]) // 10  # a tenth of the clips to choose by, the last two to test on
    return Task(
        rate=44_100,
        train=[each for mine in clips.values() for each in mine[: -3 * few]],
        held_out=[each for mine in clips.values() for each in mine[-3 * few : -2 * few]],
        tests={f"{round(100 * knob)}": mine[-2 * few :] for knob, mine in clips.items()},
    )


def _played(setup: Setup, seed: int, root: Root, names: Sequence[str]) -> Recording:
    """Return drums with noise through a plug-in: sounds one after the other, a whole number of beats each."""
    sounds = [sound(root, f"audio/sonicpi_clean/{name}.flac")[0] for name in names]
    dry = np.concatenate([np.pad(each, (0, -len(each) % BEAT)) for each in sounds])
    dry = 0.9 * dry + 10 ** (setup.noise_db / 20) * np.random.default_rng(seed).standard_normal(len(dry))
    file, fixed = PLUGINS[setup.task]
    box = ladspa(_plugin(root, file), parameters=[], sample_rate=44_100, fixed=fixed)
    x = torch.from_numpy(dry).float()
    with torch.no_grad():
        return Recording(dry=x, wet=box(x[None, None])[0, 0], name=names[0].removeprefix("loop_"))


def _plugin(root: Root, file: str) -> Path:
    folders = [*map(Path, os.environ.get(VARIABLE, USUAL).split(os.pathsep)), root.path() / "ladspa"]
    found = [folder / file for folder in folders if (folder / file).is_file()]
    if not found:
        rule = (
            f"one whose plug-in is there: {file} of Debian's swh-plugins, in a folder of {VARIABLE} or in DATA/ladspa"
        )
        raise OptionError("task", rule, f"no {file} in {', '.join(map(str, folders))}")
    return found[0]


def _heard(pair: Pair, name: str = "", knob: float | None = None, lead: int = 0) -> Recording:
    dry, wet = (torch.from_numpy(np.ascontiguousarray(signal)).float() for signal in pair)
    return Recording(dry=dry, wet=wet, name=name, knob=knob, lead=lead)
