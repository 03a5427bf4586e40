"""``hardgrad reproduce NAME`` for every experiment that ``runs.experiment`` describes: its options are its values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import MachineOptions, as_option, at_least, run_or_stop, say
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.runs.experiment import Budget, Experiment
from hardgrad_lab.runs.options import OWN_RUNS, OptionError, chosen, require

BUDGET = "Smoke takes seconds a run, small minutes to an hour on two cores, paper what the paper took."
SEEDS = "How many seeds, one run each; 0 takes as many as the budget plans."


def command(experiment: Experiment) -> Callable[..., int]:
    """Return the function that cyclopts makes a command of."""

    def reproduce(*, choice: Any = None, options: Any = None, machine: MachineOptions | None = None) -> int:
        given = {name: value for name, value in asdict(options).items() if value is not None} if options else {}
        return _run(experiment, _choice(experiment, choice or choices()), given, machine or MachineOptions())

    # As objects: the type of the options is known only now.
    choices = _choices(experiment)
    parts: dict[str, Any] = {"choice": choices, "options": _options(experiment), "machine": MachineOptions}
    types: dict[str, Any] = {name: Annotated[kind | None, Parameter(name="*")] for name, kind in parts.items()}
    reproduce.__annotations__ = {**types, "return": int}
    reproduce.__name__ = experiment.name
    task, contestant = (_option(experiment, name).capitalize() for name in ("task", "contestant"))
    tasks, contestants = ", ".join(experiment.tasks), ", ".join(experiment.contestants)
    tasks += ", or any other" if experiment.ask.any_task else ""
    about = (experiment.about, f"{task}s: {tasks}.", f"{contestant}s: {contestants}.", f"Source: {experiment.source}.")
    reproduce.__doc__ = "\n\n".join(about)
    return reproduce


def report_command(experiment: Experiment) -> Callable[..., int]:
    """Return the function that cyclopts makes the command of an experiment's report of."""

    def report(*, results: Path = OWN_RUNS, out: Path | None = None) -> int:
        return show_report(experiment, results, results / "report" if out is None else out, Console(emoji=False))

    report.__doc__ = f"""{experiment.about}

    Parameters
    ----------
    results
        Folder of the records: by default your own; `results` where the project is checked out has the committed ones.
    out
        Folder for the report; by default ``report`` in the folder of the records.
    """
    return report


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What to run, as asked for."""

    budget: Budget
    task: tuple[str, ...]
    contestant: tuple[str, ...]
    seed: int
    seeds: int
    data: Path | None
    download: bool


def _option(experiment: Experiment, name: str) -> str:
    """Return what the command line calls the task or the contestant of an experiment."""
    return experiment.ask.options.get(name, name)


def _choices(experiment: Experiment) -> type[Any]:
    """Return a dataclass with a field for each option that says what to run."""
    several, flag = Parameter(negative="", consume_multiple=False), Parameter(negative="")
    asked = [
        ("budget", Budget, "small", BUDGET),
        *(
            (_option(experiment, name), Annotated[tuple[str, ...], several], (), _help(experiment, name))
            for name in ("task", "contestant")
        ),
        ("seed", Annotated[int, at_least(0)], 0, "The first seed."),
        ("seeds", Annotated[int, at_least(0)], experiment.ask.seeds, SEEDS),
        ("data", Path | None, None, "Folder that holds the data sets; by default what HARDGRAD_DATA says."),
        ("download", Annotated[bool, flag], False, "Fetch data sets that are missing, where that is possible."),
    ]
    made = [
        (name, Annotated[kind, Parameter(help=words)], field(default=default)) for name, kind, default, words in asked
    ]
    return _dataclass(f"{experiment.config.__name__}Choice", made)


def _help(experiment: Experiment, name: str) -> str:
    usual = ", ".join(experiment.ask.usual.get(name, ()))
    planned = "those that the budget plans" if name == "task" else "all"
    return f"Only this {_option(experiment, name)}; may be given more than once. By default {usual or planned}."


def _choice(experiment: Experiment, asked: Any) -> _Choice:
    """Return what to run, by our own names."""
    names = {_option(experiment, name): name for name in ("task", "contestant")}
    return _Choice(**{names.get(name, name): value for name, value in asdict(asked).items()})


def _dataclass(name: str, made: list[Any]) -> type[Any]:
    options = make_dataclass(name, made, frozen=True, kw_only=True)
    options.__module__ = __name__  # else it is "types", and cyclopts takes it for one of Python's own
    return options


def _options(experiment: Experiment) -> type[Any]:
    """Return a dataclass with a field for each value of the configuration, none of which need be given."""
    hints, helps = get_type_hints(experiment.config), _helps(experiment.config)
    made = [
        (name, Annotated[hints[name] | None, Parameter(help=helps.get(name, ""))], field(default=None))
        for name in experiment.options()
    ]
    return _dataclass(f"{experiment.config.__name__}Options", made)


def _helps(config: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a configuration and its bases say of each of its fields."""
    text = "\n".join((base.__doc__ or "").partition("Args:")[2] for base in config.__mro__)
    names = "|".join(each.name for each in fields(config))
    found = re.split(rf"^\s+({names}):", text, flags=re.MULTILINE)
    said = {name: " ".join(words.split()) for name, words in zip(found[1::2], found[2::2], strict=True)}
    return {name: words[:1].upper() + words[1:] for name, words in said.items()}


def _run(experiment: Experiment, choice: _Choice, given: dict[str, Any], machine: MachineOptions) -> int:
    console, how = Console(emoji=False), machine.how()
    configs = _configs(experiment, choice, given)  # all of them first: a wrong option should not wait for an hour
    seeds = range(choice.seed, choice.seed + (choice.seeds or experiment.seeds[choice.budget]))
    from hardgrad_lab.data.root import Root

    root = Root(folder=choice.data, download=choice.download)
    for config in configs:
        for seed in seeds:
            run = experiment.run(config, seed)
            say(run_or_stop(run, how, partial(experiment.reproduce, run, root, how, console)), console)
    return show_report(experiment, machine.out, machine.out / "report", console)


def _configs(experiment: Experiment, choice: _Choice, given: dict[str, Any]) -> list[Any]:
    try:
        return _configured(experiment, choice, given)
    except OptionError as error:
        raise as_option(OptionError(_option(experiment, error.name), error.rule, error.got)) from None


def _configured(experiment: Experiment, choice: _Choice, given: dict[str, Any]) -> list[Any]:
    usual, any_task = experiment.ask.usual, experiment.ask.any_task
    tasks = choice.task or usual.get("task") or experiment.planned_tasks(choice.budget)
    names = chosen("contestant", choice.contestant or usual.get("contestant", ()), experiment.contestants)
    configs = [
        experiment.configure(choice.budget, task, name, given)
        for task in (tasks if any_task else chosen("task", tasks, experiment.tasks))
        for name in names
        if (task, name) not in experiment.without
    ]
    require(bool(configs), "contestant", f"one that {', '.join(tasks)} has", ", ".join(choice.contestant))
    for name, value in given.items():
        # A contestant's own values stand above options: an option that none of them takes up is a mistake.
        taken = [getattr(config, name) for config in configs]
        own = ", ".join(sorted(set(map(str, taken))))
        require(value in taken, name, f"{own}, which is {', '.join(choice.contestant) or 'everybody'}'s own", value)
    return configs
