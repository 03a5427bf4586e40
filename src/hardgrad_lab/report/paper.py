"""The paper on bridges, all of it: each of its tables and figures beside ours, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardgrad_lab.experiments.bridges.listed import EXPERIMENTS
from hardgrad_lab.report.experiment import section_of
from hardgrad_lab.report.paper_sorting import figure_6, table_ii
from hardgrad_lab.report.section import Section
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table or figure of the paper that an experiment redoes.

    Args:
        anchor: the section's id on a page.
        title: of the section.
        experiment: the name of the experiment.
        tasks: the tasks whose names begin so; all by default.
    """

    anchor: str
    title: str
    experiment: str
    tasks: tuple[str, ...] = ("",)


SORTING: Mapping[str, Callable[[Found], Section]] = {"table-ii": table_ii, "figure-6": figure_6}
# Table I compares methods in words; figures 1, 2, 4 and 5 are diagrams.
PARTS: tuple[Part | str, ...] = (
    Part(anchor="figure-3", title="Figure 3: a network fits a hard signum", experiment="figure3"),
    "table-ii",
    "figure-6",
    Part(
        anchor="figure-7",
        title="Figure 7 and table III: discrete codes of small pictures",
        experiment="latents",
        tasks=("fashion-mnist", "cifar10"),
    ),
    Part(
        anchor="table-iv",
        title="Table IV and figure 10: discrete codes of photographs",
        experiment="latents",
        tasks=("imagenet",),
    ),
    Part(anchor="table-v", title="Table V and figure 9: density of binary pictures", experiment="density"),
    Part(anchor="table-vi", title="Table VI: CIFAR-10 behind a hard function", experiment="classify"),
    Part(anchor="figure-8-left", title="Figure 8, left: where the hard function stands", experiment="placement"),
    Part(anchor="figure-8-middle", title="Figure 8, middle: how far from sorted", experiment="conditioning"),
    Part(anchor="figure-8-right", title="Figure 8, right: against straight-through", experiment="versus_ste"),
)


def sections(found: Found, results: Path) -> list[Section]:
    """Return every table and figure of the paper, in its order, those that nobody ran too.

    Args:
        found: all records.
        results: the folder they were found in.
    """
    made = []
    for part in PARTS:
        if isinstance(part, str):
            made.append(SORTING[part](found))
        elif part.experiment in EXPERIMENTS:
            experiment = of_tasks(EXPERIMENTS[part.experiment], part.tasks)
            made.append(
                section_of(experiment, _of_part(found, experiment), results, anchor=part.anchor, title=part.title)
            )
    return made


def of_tasks(experiment: Experiment, beginnings: tuple[str, ...]) -> Experiment:
    """Return an experiment with those of its tasks alone whose names begin so, and what belongs to them."""
    tasks = {name: values for name, values in experiment.tasks.items() if name.startswith(beginnings)}
    published = {key: numbers for key, numbers in experiment.published.items() if key[0] in tasks}
    claims = [claim for claim in experiment.claims if claim.task in tasks]
    return replace(experiment, tasks=tasks, published=published, claims=claims)


def _of_part(found: Found, experiment: Experiment) -> Found:
    """Leave out the records of tasks that another part of the same experiment shows."""
    elsewhere = set(EXPERIMENTS[experiment.name].tasks) - set(experiment.tasks)

    def is_mine(config: dict[str, Any]) -> bool:
        return config.get("task") not in elsewhere

    mine = [
        (path, record)
        for path, record in found.records
        if record.experiment != experiment.name or is_mine(record.config)
    ]
    return replace(found, records=mine)
