"""Every experiment as a plan sees it: which runs a budget makes, and how one of them is done.

A run carries its whole configuration as plain JSON values, so any process on any machine can do it. Nothing here
imports torch: a plan is listed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from rich.console import Console

from hardgrad_lab.experiments import experiments
from hardgrad_lab.experiments.bridges import sorting
from hardgrad_lab.runs.experiment import Budget, Experiment
from hardgrad_lab.runs.options import is_tuple, require
from hardgrad_lab.runs.record import Run

if TYPE_CHECKING:
    from hardgrad_lab.runs.execute import How, Outcome


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where runs find their data.

    Args:
        folder: that holds the data sets; None takes what ``HARDGRAD_DATA`` says.
        download: fetch what is missing, where that is possible.
    """

    folder: Path | None = None
    download: bool = False


Reproduce = Callable[[Run, Data, "How", Console], "Outcome"]
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One experiment.

    Args:
        config: the dataclass of its configurations.
        pairs: the tasks and contestants that a budget plans.
        configure: makes a configuration of a budget, a task, a contestant and values in place of the preset's.
        identify: gives the run of a configuration with a seed.
        seeds: how many seeds a budget takes where the user does not say.
        reproduce: brings a run to its end.
    """

    config: type[Any]
    pairs: Callable[[Budget], Iterable[Pair]]
    configure: Callable[[Budget, str, str, Mapping[str, Any]], Any]
    identify: Callable[[Any, int], Run]
    seeds: dict[Budget, int]
    reproduce: Reproduce

    def runs(self, budget: Budget, seed: int) -> list[Run]:
        """Return the runs that a budget makes with one seed."""
        configs = (self.configure(budget, task, contestant, {}) for task, contestant in self.pairs(budget))
        return [self.identify(config, seed) for config in configs]

    def options(self) -> list[str]:
        """Return the names of the values that a user may change."""
        return [each.name for each in fields(self.config) if each.name not in _NAMES]


# What names a configuration, in one experiment or another; the rest are its values.
_NAMES = ("experiment", "budget", "setting", "task", "length", "contestant", "system", "variant")


def rebuilt(kind: type[Any], values: dict[str, Any]) -> Any:
    """Return the configuration that a run's plain values were made from.

    Args:
        kind: its dataclass.
        values: by field; JSON has lists where a configuration has tuples.
    """
    hints = get_type_hints(kind)
    return kind(**{name: tuple(value) if is_tuple(hints[name]) else value for name, value in values.items()})


def _own(config: Any, seed: int) -> Run:
    """Return the run of a configuration that knows how to name itself."""
    run: Run = config.run(seed)
    return run


def _described(experiment: Experiment) -> Kind:
    def reproduce(run: Run, data: Data, how: How, console: Console) -> Outcome:
        from hardgrad_lab.data.root import Root

        root = Root(folder=data.folder, download=data.download)
        return experiment.reproduce(run, root, how, console)

    return Kind(
        config=experiment.config,
        pairs=experiment.pairs,
        configure=experiment.configure,
        identify=experiment.run,
        seeds=dict(experiment.seeds),
        reproduce=reproduce,
    )


_LENGTHS: dict[Budget, tuple[int, ...]] = {"smoke": (5,), "small": (5, 10), "paper": (5, 10, 15)}


def _sorting_pairs(budget: Budget) -> Iterable[Pair]:
    """Return lengths and systems; at small, 10 numbers are for the bridge alone."""
    for length, system in product(_LENGTHS[budget], sorting.SYSTEMS):
        if budget != "small" or length == 5 or system == "signum-dense":
            yield str(length), system


def _sorting_config(budget: Budget, length: str, system: str, given: Mapping[str, Any]) -> sorting.Sorting:
    require(length.isdecimal(), "task", "a whole number, how many numbers to sort", length)
    require(system in sorting.SYSTEMS, "contestant", f"one of {', '.join(sorting.SYSTEMS)}", system)
    setting, usual = sorting.BUDGETS[budget]
    return sorting.configure(setting, cast(sorting.System, system), int(length), {**usual, **given})


def _sorting(run: Run, data: Data, how: How, console: Console) -> Outcome:
    from hardgrad_lab.experiments.bridges.sorting.run import reproduce

    del data  # it is drawn
    return reproduce(rebuilt(sorting.Sorting, run.config), run.seed, how, console)


KINDS: dict[str, Kind] = {
    "sorting": Kind(
        config=sorting.Sorting,
        pairs=_sorting_pairs,
        configure=_sorting_config,
        identify=_own,
        seeds={"smoke": 1, "small": 3, "paper": 5},
        reproduce=_sorting,
    ),
    **{one.name: _described(one) for one in experiments()},
}
