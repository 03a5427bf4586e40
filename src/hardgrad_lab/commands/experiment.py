"""``hardgrad reproduce NAME`` for every experiment that ``runs.experiment`` describes: its options are its values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import MachineOptions, as_option, at_least, run_or_stop, say
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.runs.experiment import Budget, Experiment
from hardgrad_lab.runs.options import OptionError, chosen, require


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions:
    """What to run."""

    budget: Budget = "small"
    """Smoke takes seconds a run, small minutes to an hour on two cores, paper what the paper took."""
    task: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only this task; may be given more than once. By default those that the budget plans."""
    contestant: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only this contestant; may be given more than once."""
    seed: Annotated[int, at_least(0)] = 0
    """The first seed."""
    seeds: Annotated[int, at_least(0)] = 0
    """How many seeds, one run each; 0 takes as many as the budget plans."""
    data: Path | None = None
    """Folder that holds the data sets; by default what HARDGRAD_DATA says."""
    download: Annotated[bool, Parameter(negative="")] = False
    """Fetch data sets that are missing, where that is possible."""


def command(experiment: Experiment) -> Callable[..., int]:
    """Return the function that cyclopts makes a command of."""

    def reproduce(
        *, choice: ChoiceOptions | None = None, options: Any = None, machine: MachineOptions | None = None
    ) -> int:
        given = {name: value for name, value in asdict(options).items() if value is not None} if options else {}
        return _run(experiment, choice or ChoiceOptions(), given, machine or MachineOptions())

    # As objects: the type of the options is known only now.
    parts: dict[str, Any] = {"choice": ChoiceOptions, "options": _options(experiment), "machine": MachineOptions}
    types: dict[str, Any] = {name: Annotated[kind | None, Parameter(name="*")] for name, kind in parts.items()}
    reproduce.__annotations__ = {**types, "return": int}
    reproduce.__name__ = experiment.name
    tasks, contestants = ", ".join(experiment.tasks), ", ".join(experiment.contestants)
    about = (experiment.about, f"Tasks: {tasks}.", f"Contestants: {contestants}.", f"Source: {experiment.source}.")
    reproduce.__doc__ = "\n\n".join(about)
    return reproduce


def _options(experiment: Experiment) -> type[Any]:
    """Return a dataclass with a field for each value of the configuration, none of which need be given."""
    hints, helps = get_type_hints(experiment.config), _helps(experiment.config)
    made = [
        (name, Annotated[hints[name] | None, Parameter(help=helps.get(name, ""))], field(default=None))
        for name in experiment.options()
    ]
    options = make_dataclass(f"{experiment.config.__name__}Options", made, frozen=True, kw_only=True)
    options.__module__ = __name__  # else it is "types", and cyclopts takes it for one of Python's own
    return options


def _helps(config: type[Any]) -> dict[str, str]:
    """Return what the docstring of a configuration says of each of its fields."""
    text = (config.__doc__ or "").partition("Args:")[2]
    names = "|".join(each.name for each in fields(config))
    found = re.split(rf"^\s+({names}):", text, flags=re.MULTILINE)
    said = {name: " ".join(words.split()) for name, words in zip(found[1::2], found[2::2], strict=True)}
    return {name: words[:1].upper() + words[1:] for name, words in said.items()}


def _run(experiment: Experiment, choice: ChoiceOptions, given: dict[str, Any], machine: MachineOptions) -> int:
    console, how = Console(), machine.how()
    configs = _configs(experiment, choice, given)  # all of them first: a wrong option should not wait for an hour
    seeds = range(choice.seed, choice.seed + (choice.seeds or experiment.seeds[choice.budget]))
    from importlib import import_module

    from hardgrad_lab.data.root import Root

    root, program = Root(folder=choice.data, download=choice.download), import_module(experiment.program)
    for config in configs:
        for seed in seeds:
            run = experiment.run(config, seed)
            say(
                run_or_stop(
                    run,
                    how,
                    # mypy infers no type for a default.
                    lambda run=run, config=config, seed=seed: program.reproduce(  # type: ignore[misc]
                        run, config, seed, root, how, console
                    ),
                ),
                console,
            )
    return show_report(experiment.name, machine.out, machine.out / "report", console)


def _configs(experiment: Experiment, choice: ChoiceOptions, given: dict[str, Any]) -> list[Any]:
    try:
        tasks = choice.task or experiment.planned_tasks(choice.budget)
        configs = [
            experiment.configure(choice.budget, task, name, given)
            for task in chosen("task", tasks, experiment.tasks)
            for name in chosen("contestant", choice.contestant, experiment.contestants)
            if (task, name) not in experiment.without
        ]
        require(bool(configs), "contestant", f"one that {', '.join(tasks)} has", ", ".join(choice.contestant))
        for name, value in given.items():
            # A contestant's own values stand above options: an option that none of them takes up is a mistake.
            taken = [getattr(config, name) for config in configs]
            own = ", ".join(sorted(set(map(str, taken))))
            require(value in taken, name, f"{own}, which is {', '.join(choice.contestant) or 'everybody'}'s own", value)
    except OptionError as error:
        raise as_option(error) from None
    return configs
