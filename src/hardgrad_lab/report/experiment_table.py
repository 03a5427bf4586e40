"""The table of an experiment: each configuration's runs beside the published numbers, and what was not run."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.judge import compare
from hardgrad_lab.runs.published import Metric, Published
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.reported import ordered
from hardgrad_lab.runs.setting import in_short, is_declared, setting
from hardgrad_lab.runs.standing import counts, unlike
from hardgrad_lab.runs.words import NO_FIGURE, NOT_RUN, mean, say_count, say_duration, say_mean

LEGEND = (
    "Mean ± sample standard deviation over n runs that differ in their seed alone. The budget's name is followed by "
    "what differs from it. Samples: training samples that a run saw; time: a run's wall clock, mean. The last column "
    "holds ours against the published mean: as published is what chance shows more than once in twenty times (Welch's "
    "test; a mean without a spread counts as exact, and a single run of ours has the published spread)."
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


def cells(experiment: Experiment, groups: Sequence[Group], only: Sequence[Group] | None = None) -> list[list[str]]:
    """Return the table: our runs, each task's followed by what the paper has and nobody ran; or the rows of some."""
    table = []
    run = {(group.config["task"], group.config["contestant"]) for group in groups}
    for task in sorted({*experiment.tasks, *(task for task, _ in run)}, key=experiment.place):
        mine = [each for each in ordered(experiment, groups if only is None else only) if each.config["task"] == task]
        # A published number is of the experiment's own setting: what else ran beside it is another experiment.
        held = [is_declared(experiment, group) or counts(experiment, groups, group) for group in mine]
        table += [_row(experiment, group, held=each) for group, each in zip(mine, held, strict=True)]
        absent = [name for name in experiment.contestants if (task, name) in experiment.published and only is None]
        table += [_missing(experiment, task, name) for name in absent if (task, name) not in run]
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
    """Return the tasks, and the contestants of the other tasks, of which there is no run and should be.

    Those are what the small budget plans, and what the paper prints a number of. What neither asks for is not missing.
    """
    run = {(group.config["task"], group.config["contestant"]) for group in groups}
    asked = {*experiment.pairs("small"), *experiment.published}
    found = []
    for task in experiment.tasks:
        able = [name for name in experiment.contestants if (task, name) in asked]
        missing = [name for name in able if (task, name) not in run]
        if missing:
            said = experiment.words_of(task)
            found.append(said if missing == able else f"{said}: {', '.join(missing)}")
    return found


def _sources(experiment: Experiment, metric: Metric) -> list[str]:
    """Return where the published numbers of a metric stand; nowhere if there are none."""
    numbers = [each[metric.name] for each in experiment.published.values() if metric.name in each]
    return list(dict.fromkeys(number.source for number in numbers))


def _row(experiment: Experiment, group: Group, *, held: bool) -> list[str]:
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
        in_short(setting(experiment, group)),
        *columns,
        str(group.n),
        say_count(samples),
        say_duration(seconds),
        unlike(experiment, group) or said if marks and held else "",
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
