"""What a published experiment is made of: tasks, contestants, budgets, and the numbers it is held against.

An experiment's own file fills these in and defines its configuration, a frozen dataclass. Nothing here imports torch:
the command line and the report read it at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.record import Run

Budget = Literal["smoke", "small", "paper"]
BUDGETS: tuple[Budget, ...] = get_args(Budget)
# What names a configuration; the rest of its fields are values that a user may change.
NAMES = ("task", "contestant", "budget")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the table.

    Args:
        name: the key in a record's metrics.
        title: above the column.
        form: a format specification, such as ``.2f`` or ``.2%``.
        better: whether ``more`` or ``less`` of it is better; None if neither.
    """

    name: str
    title: str
    form: str = ".3f"
    better: Literal["more", "less"] | None = "more"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number that a paper gives.

    Args:
        value: in the unit of the metric; an accuracy is from 0 to 1.
        spread: its standard deviation, where one is given.
        replications: how many runs, where it is given.
        source: where it stands, such as ``table V``.
    """

    value: float
    spread: float | None = None
    replications: int | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That one contestant is better than another, as a paper says it.

    Args:
        says: the claim in our own words.
        source: where the paper makes it.
        task: on which task.
        metric: by which metric.
        better: the contestant that should win.
        worse: the other.
        alternatives: contestants of which any may win in the place of ``better``, where the paper says "one of them".
        aside: values that mean nothing to the winner, so that a rival with another is at equal configuration too.
    """

    says: str
    source: str
    task: str
    metric: str
    better: str
    worse: str
    alternatives: Sequence[str] = ()
    aside: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A published experiment.

    A value of a configuration comes from, the later over the earlier: ``common``, the task, the budget, the budget of
    that task, what the user gives, the contestant. So a contestant's values are what makes it itself, and no option
    changes them.

    Args:
        name: the word on the command line, and the folder of its records.
        about: one sentence: the help of its command, and what its report says first.
        source: the paper's table or figure.
        config: a frozen dataclass with the fields ``task``, ``contestant`` and ``budget`` and whatever else decides the
            outcome; its docstring lists them under ``Args:``, which becomes the help of the options.
        program: the module with ``reproduce(run, config, seed, root, how, console) -> Outcome``; imported when run.
        common: values of every configuration.
        tasks: what each task changes.
        contestants: what each contestant is.
        budgets: what each budget changes.
        special: what a budget changes in one task besides.
        without: pairs of task and contestant that make no sense together.
        planned: the tasks that a budget runs where none is asked for; all of them if it says nothing.
        seeds: how many runs of each configuration a budget makes where the user does not say.
        metrics: the columns of the table; the first is what decides.
        published: the paper's numbers, by task and contestant, then by metric.
        claims: what the paper says of them.
        comparable: by task, the values that a run must have to be held against the task's published numbers; with
            others, such as another data set, it is of something else.
    """

    name: str
    about: str
    source: str
    config: type[Any]
    program: str
    common: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]
    contestants: Mapping[str, Mapping[str, Any]]
    budgets: Mapping[Budget, Mapping[str, Any]]
    special: Mapping[tuple[Budget, str], Mapping[str, Any]] = field(default_factory=dict)
    without: Collection[tuple[str, str]] = ()
    planned: Mapping[Budget, Sequence[str]] = field(default_factory=dict)
    seeds: Mapping[Budget, int]
    metrics: Sequence[Metric]
    published: Mapping[tuple[str, str], Mapping[str, Published]] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    comparable: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
        require(task in self.tasks, "task", f"one of {', '.join(self.tasks)}", task)
        require(contestant in self.contestants, "contestant", f"one of {', '.join(self.contestants)}", contestant)
        require((task, contestant) not in self.without, "contestant", f"one that {task} has", contestant)
        for name in given:
            require(name in self.options(), name, "left out: there is no such option", given[name])
        special = self.special.get((budget, task), {})
        layers = (self.common, self.tasks[task], self.budgets[budget], special, given, self.contestants[contestant])
        values = {name: value for layer in layers for name, value in layer.items()}
        return self.config(task=task, contestant=contestant, budget=budget, **values)

    def options(self) -> list[str]:
        """Return the names of the values that a user may change."""
        return [each.name for each in fields(self.config) if each.name not in NAMES]

    def planned_tasks(self, budget: Budget) -> list[str]:
        """Return the tasks that a budget runs where none is asked for."""
        return list(self.planned.get(budget, self.tasks))

    def run(self, config: Any, seed: int) -> Run:
        """Return the identity of the run of a configuration with ``seed``."""
        label = f"{config.task}-{config.contestant}-{config.budget}"
        # Lists, as JSON has them: a checkpoint compares the configuration with what it read.
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
        return Run(experiment=self.name, label=label, config=values, seed=seed)
