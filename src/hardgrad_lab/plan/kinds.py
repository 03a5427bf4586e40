"""Every experiment as a plan sees it: which runs a budget makes, and how one of them is done.

A run carries its whole configuration as plain JSON values, so any process on any machine can do it. Nothing here
imports torch: a plan is listed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from rich.console import Console

from hardgrad_lab.experiments import experiments
from hardgrad_lab.experiments.switches import program as published_settings
from hardgrad_lab.experiments.switches import settings
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


def _lactose(name: settings.Experiment) -> Kind:
    def reproduce(run: Run, data: Data, how: How, console: Console) -> Outcome:
        from hardgrad_lab.experiments.switches import fit

        return fit.reproduce(rebuilt(settings.Setup, run.config), run.seed, data.folder, how, console)

    return Kind(
        config=settings.Setup,
        pairs=lambda budget: product(settings.TASKS[name], settings.CONTESTANTS[name]),
        configure=partial(settings.configure, name),
        identify=_own,
        seeds={"smoke": 1, "small": 5, "paper": 5},
        reproduce=reproduce,
    )


def _published_config(
    budget: Budget, task: str, variant: str, given: Mapping[str, Any]
) -> published_settings.Published:
    require(task == "published", "task", "published, its only one", task)
    known = published_settings.VARIANTS
    require(variant in known, "contestant", f"one of {', '.join(known)}", variant)
    return published_settings.configure(budget, variant, given)


def _published(run: Run, data: Data, how: How, console: Console) -> Outcome:
    from hardgrad_lab.experiments.switches.program.run import reproduce

    return reproduce(rebuilt(published_settings.Published, run.config), run.seed, data.folder, how, console)


KINDS: dict[str, Kind] = {
    **{name: _lactose(name) for name in settings.EXPERIMENTS},
    "published": Kind(
        config=published_settings.Published,
        pairs=lambda budget: product(["published"], published_settings.VARIANTS),
        configure=_published_config,
        identify=_own,
        seeds={"smoke": 1, "small": 3, "paper": 3},
        reproduce=_published,
    ),
    **{one.name: _described(one) for one in experiments()},
}
