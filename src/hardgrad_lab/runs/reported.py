"""The runs of an experiment that a report can show, in one order for every table and figure."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.runs.experiment import BUDGETS, NAMES, Experiment
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Found, Group, group_by_config
from hardgrad_lab.runs.setting import setting


def groups_of(experiment: Experiment, found: Found, needs: Sequence[str] = ()) -> tuple[list[Group], list[str]]:
    """Return the runs of an experiment in order, and one warning for each record that cannot be reported on.

    Args:
        experiment: which.
        found: all records.
        needs: metrics, and keys of a configuration, without which a record cannot be shown.
    """
    records, warnings = found.of(experiment.name, lambda record: fault(experiment, record, needs))
    return ordered(experiment, group_by_config(records, experiment.read)), warnings


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


def fault(experiment: Experiment, record: Record, needs: Sequence[str] = ()) -> str | None:
    """Return what keeps a record out of the report, so that one odd file does not spoil it; None if nothing does."""
    config, metrics = record.config, record.metrics
    keys = [experiment.keys.get(name, name) for name in NAMES]
    missing = [key for key in keys if key and key not in config]
    missing += [name for name in needs if name not in config and name not in metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    task, contestant, budget = experiment.named(config)
    known = contestant in experiment.contestants and (task, contestant) not in experiment.without
    if not experiment.knows(task) or not known:
        return f"is of an unknown task or contestant ({task!r}, {contestant!r})"
    if budget not in BUDGETS:
        return f"is of an unknown budget ({budget!r})"
    if experiment.metrics and not any(metric.name in metrics for metric in experiment.metrics):
        return f"lacks {', '.join(metric.name for metric in experiment.metrics)}"
    return None
