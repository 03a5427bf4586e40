"""The published experiments: each a folder of its own, and one line of the list.

Nothing is imported before it is asked for by name; what then is imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardgrad_lab.runs.named import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardgrad_lab.runs.experiment import Experiment

# By the word on the command line, in the order of the page of all experiments: that of the paper, then the others.
LIST: dict[str, str] = {
    "figure3": "hardgrad_lab.experiments.bridges.figure3:FIGURE3",
    "sorting": "hardgrad_lab.experiments.bridges.sorting:SORTING",
    "latents": "hardgrad_lab.experiments.bridges.latents:LATENTS",
    "density": "hardgrad_lab.experiments.bridges.density:DENSITY",
    "classify": "hardgrad_lab.experiments.bridges.classify:CLASSIFY",
    "placement": "hardgrad_lab.experiments.bridges.placement:PLACEMENT",
    "conditioning": "hardgrad_lab.experiments.bridges.conditioning:CONDITIONING",
    "versus_ste": "hardgrad_lab.experiments.bridges.versus_ste:VERSUS_STE",
    "boxes": "hardgrad_lab.experiments.bridges.boxes:BOXES",
    "digits": "hardgrad_lab.experiments.bridges.digits:DIGITS",
    "paths": "hardgrad_lab.experiments.bridges.paths:PATHS",
    "explain": "hardgrad_lab.experiments.bridges.explain:EXPLAIN",
    "low_bit": "hardgrad_lab.experiments.bridges.low_bit:LOW_BIT",
    "spikes": "hardgrad_lab.experiments.bridges.spikes:SPIKES",
    "approximators": "hardgrad_lab.experiments.bridges.approximators:APPROXIMATORS",
    "codebooks": "hardgrad_lab.experiments.bridges.codebooks:CODEBOOKS",
    "piecewise": "hardgrad_lab.experiments.switches.piecewise:PIECEWISE",
    "ecg": "hardgrad_lab.experiments.switches.ecg:ECG",
    "waveshaper": "hardgrad_lab.experiments.switches.waveshaper:WAVESHAPER",
    "devices": "hardgrad_lab.experiments.switches.devices:DEVICES",
    "published": "hardgrad_lab.experiments.switches.program:PUBLISHED",
    "toys": "hardgrad_lab.experiments.toys:TOYS",
}


def experiment(name: str) -> Experiment:
    """Return the experiment of a name in the list."""
    found: Experiment = load(LIST[name])
    return found


def experiments() -> Iterator[Experiment]:
    """Return every experiment, in the order of the list."""
    return map(experiment, LIST)
