"""The table of an experiment: each configuration's runs beside the published numbers, and what was not run."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.runs.experiment import BUDGETS, Experiment
from hardgrad_lab.runs.judge import compare
from hardgrad_lab.runs.published import Metric, Published
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import plain, setting
from hardgrad_lab.runs.words import NO_FIGURE, NOT_RUN, mean, say_count, say_duration, say_mean

UNLIKE = "not comparable"
LEGEND = (
    "Mean ± sample standard deviation over n runs that differ in their seed alone. The budget's name is followed by "
    "what differs from it. Samples: training samples that a run saw; time: a run's wall clock, mean. The last column "
    "holds ours against the published mean: as published is within two standard errors of it, of both sides where both "
    "have a spread; where neither has one, any difference as printed is said."
)


def ordered(experiment: Experiment, groups: Sequence[Group]) -> list[Group]:
    """Return the groups in the order of tasks, budgets, settings and contestants: those at equal settings together."""
    contestants = list(experiment.contestants)
    return sorted(
        groups,
        key=lambda group: (
            experiment.place(group.config["task"]),
            BUDGETS.index(group.config["budget"]),
            setting(experiment, group),
            contestants.index(group.config["contestant"]),
        ),
    )


def headings(experiment: Experiment) -> tuple[str, ...]:
    """Return the table's headings: a metric with published numbers has a second column for them."""
    columns = []
    for metric in experiment.metrics:
        where = ", ".join(_sources(experiment, metric))
        columns += [metric.title, *([f"published, {where}"] if where else [])]
    asked = experiment.ask.options
    return (
        asked.get("task", "task"),
        asked.get("contestant", "contestant"),
        "budget",
        *columns,
        "n",
        "samples",
        "time",
        "",
    )


def numeric(experiment: Experiment) -> tuple[int, ...]:
    """Return which columns hold figures."""
    return tuple(range(3, len(headings(experiment)) - 1))


def shown(experiment: Experiment, table: Sequence[Sequence[str]]) -> list[int]:
    """Return the columns for a terminal: the metric that decides, alone, and of what differs between rows."""
    first = 4 if _sources(experiment, experiment.metrics[0]) else 3
    tasks = [0] if len({row[0] for row in table}) > 1 else []
    last = len(headings(experiment)) - 1
    samples = [last - 2] if experiment.columns else []
    return [*tasks, *range(1, first + 1), last - 3, *samples, *([last] if experiment.published else [])]


def cells(experiment: Experiment, groups: Sequence[Group]) -> list[list[str]]:
    """Return the table: our runs, each task's followed by what the paper has and nobody ran."""
    table = []
    run = {(group.config["task"], group.config["contestant"]) for group in groups}
    for task in sorted({*experiment.tasks, *(task for task, _ in run)}, key=experiment.place):
        mine = [group for group in ordered(experiment, groups) if group.config["task"] == task]
        table += [_row(experiment, group) for group in mine]
        missing = [name for name in experiment.contestants if (task, name) in experiment.published]
        table += [_missing(experiment, task, name) for name in missing if (task, name) not in run]
    return table


def rows_used(groups: Sequence[Group]) -> list[str]:
    """Return which data the runs of each task saw, where their records say so."""
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        for record in group.records:
            if rows := record.environment.get("rows"):
                found.setdefault(group.config["task"], {})[f"{group.config['budget']}: {rows}"] = None
    return [f"{task}, {'; '.join(said)}" for task, said in found.items()]


def not_run(experiment: Experiment, groups: Sequence[Group]) -> list[str]:
    """Return the tasks, and the contestants of the other tasks, of which there is no run."""
    run = {(group.config["task"], group.config["contestant"]) for group in groups}
    found = []
    for task in experiment.tasks:
        able = [name for name in experiment.contestants if (task, name) not in experiment.without]
        missing = [name for name in able if (task, name) not in run]
        if missing:
            said = experiment.words_of(task)
            found.append(said if missing == able else f"{said}: {', '.join(missing)}")
    return found


def standings(experiment: Experiment, groups: Sequence[Group]) -> list[str]:
    """Return how ours stands to each published number, by the runs at the largest budget; ``not run`` without one."""
    found = []
    for (task, contestant), numbers in experiment.published.items():
        mine = [each for each in groups if (each.config["task"], each.config["contestant"]) == (task, contestant)]
        group = max(mine, key=lambda each: _weight(experiment, each), default=None)
        for metric in experiment.metrics:
            if metric.better and metric.name in numbers:
                ours = None if group is None else mean(group, metric.name)
                if group is None or ours is None:
                    found.append(NOT_RUN)
                else:
                    found.append(unlike(experiment, group) or compare(metric, ours, numbers[metric.name]))
    return found


def _weight(experiment: Experiment, group: Group) -> tuple[int, bool, int, int]:
    """Return what makes a configuration the one to judge by: its budget, the preset as it is, samples, runs."""
    preset = setting(experiment, group) == group.config["budget"]
    return BUDGETS.index(group.config["budget"]), preset, max(record.samples for record in group.records), group.n


def unlike(experiment: Experiment, group: Group) -> str:
    """Return why a group is not held against the published numbers of its task; nothing where it is."""
    wanted = experiment.comparable.get(group.config["task"], {})
    other = [f"{name} {plain(group.config.get(name))}" for name in wanted if group.config.get(name) != wanted[name]]
    return f"{UNLIKE}: {', '.join(other)}" if other else ""


def _sources(experiment: Experiment, metric: Metric) -> list[str]:
    """Return where the published numbers of a metric stand; nowhere if there are none."""
    numbers = [each[metric.name] for each in experiment.published.values() if metric.name in each]
    return list(dict.fromkeys(number.source for number in numbers))


def _row(experiment: Experiment, group: Group) -> list[str]:
    config = group.config
    numbers = experiment.published.get((config["task"], config["contestant"]), {})
    columns, marks = [], []
    for metric in experiment.metrics:
        ours, theirs = mean(group, metric.name), numbers.get(metric.name)
        columns += [say_mean(ours, metric.form), *_theirs(experiment, metric, theirs)]
        if metric.better and ours is not None and theirs is not None:
            marks.append((metric.title, compare(metric, ours, theirs)))
    said = marks[0][1] if len(marks) == 1 else "; ".join(f"{title} {mark}" for title, mark in marks)
    samples = max(record.samples for record in group.records)
    seconds = sum(record.seconds for record in group.records) / group.n
    return [
        config["task"],
        config["contestant"],
        setting(experiment, group),
        *columns,
        str(group.n),
        say_count(samples),
        say_duration(seconds),
        unlike(experiment, group) or said if marks else "",
    ]


def _missing(experiment: Experiment, task: str, contestant: str) -> list[str]:
    columns = []
    for metric in experiment.metrics:
        theirs = experiment.published[task, contestant].get(metric.name)
        columns += [NO_FIGURE, *_theirs(experiment, metric, theirs)]
    return [task, contestant, NO_FIGURE, *columns, "0", NO_FIGURE, NO_FIGURE, NOT_RUN]


def _theirs(experiment: Experiment, metric: Metric, number: Published | None) -> list[str]:
    """Return the cell of the published number, with its runs; none for a metric without a column."""
    sources = _sources(experiment, metric)
    if not sources or number is None:
        return [NO_FIGURE] if sources else []
    notes = [] if number.replications is None else [f"n={number.replications}"]
    notes += [number.source] if len(sources) > 1 else []
    scale, unit = (100, "%") if metric.form.endswith("%") else (1, "")
    # With as many digits as it is printed with, which a column's form may cut.
    spread = "" if number.spread is None else f" ± {scale * number.spread:g}{unit}"
    return [f"{format(number.value, metric.form)}{spread}" + (f" ({', '.join(notes)})" if notes else "")]
