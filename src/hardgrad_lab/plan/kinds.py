"""Every experiment as a plan sees it: which runs a budget makes, and how one of them is done.

A run carries its whole configuration as plain JSON values, so any process on any machine can do it. Nothing here
imports torch: a plan is listed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from rich.console import Console

from hardgrad_lab.dab import sorting
from hardgrad_lab.dab.experiments import EXPERIMENTS
from hardgrad_lab.lactose import published_settings, settings
from hardgrad_lab.runs.experiment import Budget, Experiment
from hardgrad_lab.runs.record import Run
from hardgrad_lab.toys import settings as toys

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


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One experiment.

    Args:
        runs: the runs that a budget makes with one seed.
        seeds: how many seeds a budget takes where the user does not say.
        reproduce: brings a run to its end.
    """

    runs: Callable[[Budget, int], Iterable[Run]]
    seeds: dict[Budget, int]
    reproduce: Reproduce


def rebuilt(kind: type[Any], values: dict[str, Any]) -> Any:
    """Return the configuration that a run's plain values were made from.

    Args:
        kind: its dataclass.
        values: by field; JSON has lists where a configuration has tuples.
    """
    hints = get_type_hints(kind)
    return kind(**{name: tuple(value) if _is_tuple(hints[name]) else value for name, value in values.items()})


def _is_tuple(hint: Any) -> bool:
    return hint is tuple or get_origin(hint) is tuple or any(_is_tuple(each) for each in get_args(hint))


def _described(experiment: Experiment) -> Kind:
    def runs(budget: Budget, seed: int) -> Iterable[Run]:
        for task in experiment.planned_tasks(budget):
            for name in experiment.contestants:
                if (task, name) not in experiment.without:
                    yield experiment.run(experiment.configure(budget, task, name, {}), seed)

    def reproduce(run: Run, data: Data, how: How, console: Console) -> Outcome:
        from hardgrad_lab.data.root import Root

        root = Root(folder=data.folder, download=data.download)
        config = rebuilt(experiment.config, run.config)
        outcome: Outcome = import_module(experiment.program).reproduce(run, config, run.seed, root, how, console)
        return outcome

    return Kind(runs=runs, seeds=dict(experiment.seeds), reproduce=reproduce)


_LENGTHS: dict[Budget, tuple[int, ...]] = {"smoke": (5,), "small": (5, 10), "paper": (5, 10, 15)}


def _sorting_runs(budget: Budget, seed: int) -> Iterable[Run]:
    setting, given = sorting.BUDGETS[budget]
    for length in _LENGTHS[budget]:
        for system in sorting.SYSTEMS:
            if budget != "small" or length == 5 or system == "signum-dense":
                yield sorting.configure(setting, system, length, given).run(seed)


def _sorting(run: Run, data: Data, how: How, console: Console) -> Outcome:
    from hardgrad_lab.dab.sorting_run import reproduce

    del data  # it is drawn
    return reproduce(rebuilt(sorting.Sorting, run.config), run.seed, how, console)


def _lactose(name: settings.Experiment) -> Kind:
    def runs(budget: Budget, seed: int) -> Iterable[Run]:
        for task in settings.TASKS[name]:
            for contestant in settings.CONTESTANTS[name]:
                yield settings.configure(name, budget, task, contestant, {}).run(seed)

    def reproduce(run: Run, data: Data, how: How, console: Console) -> Outcome:
        from hardgrad_lab.lactose import fit

        return fit.reproduce(rebuilt(settings.Setup, run.config), run.seed, data.folder, how, console)

    return Kind(runs=runs, seeds={"smoke": 1, "small": 5, "paper": 5}, reproduce=reproduce)


def _published_runs(budget: Budget, seed: int) -> Iterable[Run]:
    for variant in published_settings.VARIANTS:
        yield published_settings.configure(budget, variant, {}).run(seed)


def _published(run: Run, data: Data, how: How, console: Console) -> Outcome:
    from hardgrad_lab.lactose.published_run import reproduce

    return reproduce(rebuilt(published_settings.Published, run.config), run.seed, data.folder, how, console)


def _toys_runs(budget: Budget, seed: int) -> Iterable[Run]:
    for task in toys.TASKS:
        for contestant in toys.CONTESTANTS[task]:
            yield toys.configure(budget, task, contestant, {}).run(seed)


def _toys(run: Run, data: Data, how: How, console: Console) -> Outcome:
    from hardgrad_lab.toys.run import reproduce

    del data  # there is none
    return reproduce(rebuilt(toys.Toy, run.config), run.seed, how, console)


KINDS: dict[str, Kind] = {
    "sorting": Kind(runs=_sorting_runs, seeds={"smoke": 1, "small": 3, "paper": 5}, reproduce=_sorting),
    **{name: _described(experiment) for name, experiment in EXPERIMENTS.items()},
    **{name: _lactose(name) for name in settings.EXPERIMENTS},
    "published": Kind(runs=_published_runs, seeds={"smoke": 1, "small": 3, "paper": 3}, reproduce=_published),
    "toys": Kind(runs=_toys_runs, seeds={"smoke": 1, "small": 1, "paper": 1}, reproduce=_toys),
}
