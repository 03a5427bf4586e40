"""Where the runs of a configuration stand: the budget they began from, and every value that differs from it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.words import say_count

LENGTH = ("epochs", "samples", "steps", "passes")  # how long a run trains: more of it is the same recipe


def setting(experiment: Experiment, group: Group) -> str:
    """Return the budget and every value that differs from its preset, such as ``small, steps 100``.

    Args:
        experiment: whose configuration it is.
        group: its runs, their values under the names that ``Experiment.read`` gives.
    """
    config = group.config
    differing = [
        f"{name.replace('_', ' ')} {plain(config[name])}" if name in config else f"without {name.replace('_', ' ')}"
        for name in _differing(experiment, group)
        if name not in experiment.columns
    ]
    return ", ".join([str(config["budget"]), *differing])


def in_short(said: str, most: int = 4) -> str:
    """Return a setting with its first values, and how many there are more."""
    values = said.split(", ")
    return said if len(values) <= most + 1 else f"{', '.join(values[:most])} and {len(values) - most} more"


def is_declared(experiment: Experiment, group: Group) -> bool:
    """Return whether a configuration is its budget's own, but for how long it trained."""
    return {*LENGTH, *experiment.columns}.issuperset(_differing(experiment, group))


def share_of_paper(experiment: Experiment, group: Group) -> str:
    """Return how long a configuration trained of what the paper's budget would, such as ``30 of 9,933 epochs``."""
    config = group.config
    try:
        paper = asdict(experiment.configure("paper", config["task"], config["contestant"], {}))
    except OptionError:
        return ""
    shares = [(config[name], paper[name], name) for name in LENGTH if name in config and paper.get(name)]
    said = {share: say_count(share) if share >= 100_000 else f"{share:,}" for pair in shares for share in pair[:2]}
    return next((f"{said[our]} of {said[their]} {name}" for our, their, name in shares if our < their), "")


def _differing(experiment: Experiment, group: Group) -> list[str]:
    """Return the names of the values that are not those of the budget's preset."""
    config = group.config
    try:
        preset = experiment.configure(config["budget"], config["task"], config["contestant"], {})
    except OptionError:
        return []
    values = experiment.read(experiment.run(preset, 0).config)
    names = {**values, **config}
    return [name for name in names if name not in config or name not in values or config[name] != values[name]]


def plain(value: Any) -> str:
    """Return a value as text: a list as ``8x8``, a number without the zeros it does not need."""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
