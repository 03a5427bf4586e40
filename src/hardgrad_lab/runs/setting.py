"""Where the runs of a configuration stand: the budget they began from, and every value that differs from it."""

from __future__ import annotations

from typing import Any

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.records import Group


def setting(experiment: Experiment, group: Group) -> str:
    """Return the budget and every value that differs from its preset, such as ``small, steps 100``.

    Args:
        experiment: whose configuration it is.
        group: its runs, their values under the names that ``Experiment.read`` gives.
    """
    config = group.config
    try:
        preset = experiment.configure(config["budget"], config["task"], config["contestant"], {})
        values = experiment.read(experiment.run(preset, 0).config)
    except OptionError:
        values = {}
    differing = [
        f"{name.replace('_', ' ')} {plain(config[name])}" if name in config else f"without {name.replace('_', ' ')}"
        for name in {**values, **config}
        if name not in experiment.columns
        and values
        and (name not in config or name not in values or config[name] != values[name])
    ]
    return ", ".join([str(config["budget"]), *differing])


def plain(value: Any) -> str:
    """Return a value as text: a list as ``8x8``, a number without the zeros it does not need."""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
