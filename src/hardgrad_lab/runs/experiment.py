"""What a published experiment is made of: tasks, contestants, budgets, and the numbers it is held against.

An experiment's own folder fills these in and defines its configuration, a frozen dataclass. What most experiments share
is data here; what one of them does in its own way is a function, or the name of one, ``module:function``, where it
needs more than the standard library. Nothing here imports torch: the command line and the report read it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from hardgrad_lab.runs.options import is_tuple, require
from hardgrad_lab.runs.published import Claim, Metric, Published
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.records import Group

if TYPE_CHECKING:
    from rich.console import Console

    from hardgrad_lab.runs.execute import How, Outcome

Budget = Literal["smoke", "small", "paper"]
BUDGETS: tuple[Budget, ...] = get_args(Budget)
NAMES = ("task", "contestant", "budget")  # what names a configuration


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table or figure of a paper, a section of the page of all experiments.

    Args:
        anchor: the section's id on the page.
        title: of the section.
        tasks: the tasks whose names begin so; all by default.
        select: which of the groups of records belong to it; all by default.
        changes: fields of the experiment that are others in this section.
        command: the arguments of ``hardgrad`` that make its records; by default the experiment's own.
    """

    anchor: str
    title: str
    tasks: tuple[str, ...] = ("",)
    select: Callable[[Sequence[Group]], Sequence[Group]] = list
    changes: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How the command line asks for the runs of an experiment, where it is not as for the others.

    Args:
        options: names of options in place of ``task`` and ``contestant``.
        usual: what is run of these where nothing is asked for, in place of all that the budget plans.
        seeds: how many where nothing is asked for; 0 takes as many as the budget plans.
        any_task: tasks are whole numbers, and others than those listed make sense too.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seeds: int = 0
    any_task: bool = False


def usual_label(config: Mapping[str, Any]) -> str:
    """Return the readable part of a run's name, from its configuration as records have it."""
    return "{task}-{contestant}-{budget}".format(**config)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A published experiment.

    A value of a configuration comes from, the later over the earlier: ``common``, the task, the budget, the budget of
    that task, what the user gives, the contestant, the contestant in that task. So a contestant's values are what makes
    it itself, and no option changes them.

    Args:
        name: the word on the command line, and the folder of its records.
        about: one sentence: the help of its command, and what its report says first.
        source: the paper's table or figure; the title of its report.
        config: a frozen dataclass with the fields ``task``, ``contestant`` and ``budget`` and whatever else decides the
            outcome; its docstring lists them under ``Args:``, which becomes the help of the options.
        program: the module with ``reproduce(run, config, seed, root, how, console) -> Outcome``; imported when run.
        common: values of every configuration.
        tasks: what each task changes.
        contestants: what each contestant is.
        budgets: what each budget changes.
        special: what a budget changes in one task besides.
        own: what a contestant is in one task besides, by task and contestant.
        without: pairs of task and contestant that make no sense together.
        planned: the tasks that a budget runs where none is asked for; all of them if it says nothing.
        unplanned: triples of budget, task and contestant that are run only where they are asked for.
        seeds: how many runs of each configuration a budget makes where the user does not say.
        maker: makes a configuration of budget, task, contestant and what the user gives, in place of all these values.
        names: the fields that name a configuration; the rest are values that a user may change.
        keys: of fields whose key in a record is another one, that key; empty where records do not have it.
        later: fields that came after records were made, and their value in those; a record that has it leaves it out.
        kept_budgets: by the word that records have in place of a budget's name, that budget.
        columns: values that have a column of their own in the table, so that a setting does not name them.
        label: makes the readable part of a run's name from its configuration as records have it.
        ask: how the command line asks for runs.
        metrics: the columns of the table; the first is what decides.
        published: the paper's numbers, by task and contestant, then by metric.
        claims: what the paper says of them.
        comparable: by task, the values that a run must have to be held against the task's published numbers; with
            others, such as another data set, it is of something else.
        because: by task and contestant, in a few words, why ours falls short of the published number where it does.
        figures: ``module:function``, given the groups of records and their folder, returns the drawings.
        parts: the sections of the page of all experiments; one by default.
        sections: ``module:function``, given the experiment, all records and their folder, returns these sections, in
            place of the usual ones.
        page: ``module:function``, given the same, returns the one section that is the experiment's own page.
        brief: the page of all experiments shows it after the others, and does not count its numbers.
    """

    name: str
    about: str
    source: str
    config: type[Any]
    program: str
    common: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]]
    contestants: Mapping[str, Mapping[str, Any]]
    budgets: Mapping[Budget, Mapping[str, Any]] = field(default_factory=dict)
    special: Mapping[tuple[Budget, str], Mapping[str, Any]] = field(default_factory=dict)
    own: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    without: Collection[tuple[str, str]] = ()
    planned: Mapping[Budget, Sequence[str]] = field(default_factory=dict)
    unplanned: Collection[tuple[Budget, str, str]] = ()
    seeds: Mapping[Budget, int]
    maker: Callable[[Budget, str, str, Mapping[str, Any]], Any] | None = None
    names: Sequence[str] = NAMES
    keys: Mapping[str, str] = field(default_factory=dict)
    later: Mapping[str, Any] = field(default_factory=dict)
    kept_budgets: Mapping[str, Budget] = field(default_factory=dict)
    columns: Collection[str] = ()
    label: Callable[[Mapping[str, Any]], str] = usual_label
    ask: Ask = Ask()
    metrics: Sequence[Metric] = ()
    published: Mapping[tuple[str, str], Mapping[str, Published]] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    comparable: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    because: Mapping[tuple[str, str], str] = field(default_factory=dict)
    figures: str = ""
    parts: Sequence[Part] = ()
    sections: str = ""
    page: str = ""
    brief: bool = False

    def configure(self, budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Any:
        """Return one configuration.

        Args:
            budget: smoke takes seconds, small minutes to an hour on two cores, paper what the paper took.
            task: one of ``tasks``.
            contestant: one of ``contestants``.
            given: field names of ``config`` and values, in place of the preset's.

        Raises:
            OptionError: if a name is unknown, or a value is not allowed.
        """
        require(budget in BUDGETS, "budget", f"one of {', '.join(BUDGETS)}", budget)
        require(self.knows(task), "task", self.known_tasks(), task)
        require(contestant in self.contestants, "contestant", f"one of {', '.join(self.contestants)}", contestant)
        require((task, contestant) not in self.without, "contestant", f"one that {task} has", contestant)
        for name in given:
            require(name in self.options(), name, "left out: there is no such option", given[name])
        if self.maker is not None:
            return self.maker(budget, task, contestant, given)
        preset = (self.common, self.tasks[task], self.budgets.get(budget, {}), self.special.get((budget, task), {}))
        layers = (*preset, given, self.contestants[contestant], self.own.get((task, contestant), {}))
        values = {name: value for layer in layers for name, value in layer.items()}
        return self.config(task=task, contestant=contestant, budget=budget, **values)

    def options(self) -> list[str]:
        """Return the names of the values that a user may change."""
        return [each.name for each in fields(self.config) if each.name not in self.names]

    def knows(self, task: str) -> bool:
        """Return whether there is such a task."""
        return task in self.tasks or (self.ask.any_task and task.isdecimal())

    def known_tasks(self) -> str:
        """Return which tasks there are, to stand after "must be"."""
        return f"{'a whole number, such as' if self.ask.any_task else 'one of'} {', '.join(self.tasks)}"

    def place(self, task: str) -> int:
        """Return where a task stands among all that make sense."""
        return int(task) if self.ask.any_task else list(self.tasks).index(task)

    def words_of(self, task: str) -> str:
        """Return a task in words: a number with what it is a number of."""
        return f"{self.ask.options.get('task', 'task')} {task}" if self.ask.any_task else task

    def planned_tasks(self, budget: Budget) -> list[str]:
        """Return the tasks that a budget runs where none is asked for."""
        return list(self.planned.get(budget, self.tasks))

    def pairs(self, budget: Budget) -> list[tuple[str, str]]:
        """Return the tasks and contestants that a budget runs where none is asked for."""
        return [
            (task, name)
            for task in self.planned_tasks(budget)
            for name in self.contestants
            if (task, name) not in self.without and (budget, task, name) not in self.unplanned
        ]

    def runs(self, budget: Budget, seed: int) -> list[Run]:
        """Return the runs that a budget makes with one seed."""
        return [self.run(self.configure(budget, task, name, {}), seed) for task, name in self.pairs(budget)]

    def run(self, config: Any, seed: int) -> Run:
        """Return the identity of the run of a configuration with ``seed``."""
        given = {name: value for name, value in asdict(config).items() if (name, value) not in self.later.items()}
        named = {self.keys.get(name, name): value for name, value in given.items()}
        # Lists, as JSON has them: a checkpoint compares the configuration with what it read.
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in named.items() if key}
        return Run(experiment=self.name, label=self.label(values), config=values, seed=seed)

    def rebuilt(self, values: Mapping[str, Any]) -> Any:
        """Return the configuration that a run's plain values, as records have them, were made from."""
        hints = get_type_hints(self.config)
        names = {key: name for name, key in self.keys.items() if name in hints}
        given = {**self.later, **{names.get(key, key): value for key, value in values.items()}}
        return self.config(**{name: tuple(it) if is_tuple(hints[name]) else it for name, it in given.items()})

    def named(self, values: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return task, contestant and budget of a configuration as records have it."""
        only = {"task": next(iter(self.tasks))}  # what a record leaves out is the only one
        keys = {name: self.keys.get(name, name) for name in NAMES}
        task, contestant, budget = (str(values[key]) if key else only[name] for name, key in keys.items())
        return task, contestant, self.kept_budgets.get(budget, budget)

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration as records have it, its values under the names of fields, and of these ``NAMES``."""
        names = {key: name for name, key in self.keys.items()}
        renamed = {names.get(key, key): value for key, value in values.items()}
        return {**self.later, **renamed, **dict(zip(NAMES, self.named(values), strict=True))}

    def reproduce(self, run: Run, root: Any, how: How, console: Console) -> Outcome:
        """Bring a run to its end, or find its record; see ``runs.execute.execute`` for what it raises.

        Args:
            run: one of the experiment's.
            root: where it finds its data, a ``data.root.Root``.
            how: device, folder, whether to resume.
            console: where progress is shown.
        """
        program = import_module(self.program)
        outcome: Outcome = program.reproduce(run, self.rebuilt(run.config), run.seed, root, how, console)
        return outcome
