"""How ours stands to a number that a paper prints: which runs count, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardgrad_lab.runs.compare import Mean
from hardgrad_lab.runs.experiment import BUDGETS, Experiment
from hardgrad_lab.runs.judge import FEW, compare
from hardgrad_lab.runs.published import Metric, Published
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import in_short, is_declared, plain, setting, share_of_paper
from hardgrad_lab.runs.words import NOT_RUN, mean

UNLIKE = "not comparable"
ENOUGH = 3  # runs; a longer training with fewer counts less than a shorter one with so many


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How ours stands to one published number.

    Args:
        task: in words.
        contestant: whose number.
        metric: of which it is one.
        number: the published one.
        ours: of the runs that count; None where there are none.
        spent: the setting of these runs; of those that fall short, why, as far as it is known.
        said: as ``runs.judge.compare`` says it, or that it is not run or not comparable.
    """

    task: str
    contestant: str
    metric: Metric
    number: Published
    ours: Mean | None
    spent: str
    said: str

    @property
    def kind(self) -> str:
        """Return what is said, if so few runs can say it: one tells nothing, two not that two numbers are the same."""
        if self.said.startswith(UNLIKE):
            return NOT_RUN
        least = ENOUGH if self.said == "as published" else 2
        return FEW if self.ours is not None and (self.ours.n or 0) < least else self.said


def standings(experiment: Experiment, groups: Sequence[Group]) -> list[Standing]:
    """Return how ours stands to each published number of which more or less is better."""
    return [
        _standing(experiment, metric, numbers[metric.name], key, counted(experiment, groups, *key))
        for key, numbers in experiment.published.items()
        for metric in experiment.metrics
        if metric.better and metric.name in numbers
    ]


def _standing(
    experiment: Experiment, metric: Metric, number: Published, key: tuple[str, str], group: Group | None
) -> Standing:
    ours = None if group is None else mean(group, metric.name)
    said, spent = NOT_RUN, ""
    if group is not None and ours is not None:
        said = unlike(experiment, group) or compare(metric, ours, number)
        why = _why(experiment, key, group) if said.startswith("short") else []
        spent = ", ".join(each for each in (in_short(setting(experiment, group), 2), *why) if each)
    task = experiment.words_of(key[0])
    return Standing(task=task, contestant=key[1], metric=metric, number=number, ours=ours, spent=spent, said=said)


def _why(experiment: Experiment, key: tuple[str, str], group: Group) -> list[str]:
    """Return how long ours trained beside the paper's, or beside the paper's budget, and the reason that is known."""
    numbers = experiment.published[key]
    beside = [
        f"{each.title} {format(group.mean(each.name), each.form)}, theirs {format(numbers[each.name].value, each.form)}"
        for each in experiment.metrics
        if each.better is None and each.name in numbers
    ]
    return [*(beside or [share_of_paper(experiment, group)]), experiment.because.get(key, "")]


def counted(experiment: Experiment, groups: Sequence[Group], task: str, contestant: str) -> Group | None:
    """Return the runs of a contestant that are held against its published number, by no look at what they reached.

    They are at the largest budget, in a configuration that is the experiment's own but for how long it trained, where
    there is one; of these, those of ``ENOUGH`` runs come first, then the longest training, then the most runs.
    """
    mine = [each for each in groups if (each.config["task"], each.config["contestant"]) == (task, contestant)]
    return max(mine, key=lambda each: (not unlike(experiment, each), *weight(experiment, each), each.n), default=None)


def counts(experiment: Experiment, groups: Sequence[Group], group: Group) -> bool:
    """Return whether runs are those that count of their contestant."""
    return group is counted(experiment, groups, group.config["task"], group.config["contestant"])


def trials(experiment: Experiment, groups: Sequence[Group]) -> list[Group]:
    """Return the configurations of one run each that stand beside one that counts."""
    return [group for group in groups if group.n == 1 and not counts(experiment, groups, group)]


def weight(experiment: Experiment, *groups: Group) -> tuple[int, bool, int, int]:
    """Return by what runs, or the sides of a comparison, come before others: by nothing that they reached."""
    samples = max(record.samples for record in groups[0].records)
    fewest = min(group.n for group in groups)
    return BUDGETS.index(groups[0].config["budget"]), is_declared(experiment, groups[0]), min(fewest, ENOUGH), samples


def unlike(experiment: Experiment, group: Group) -> str:
    """Return why a group is not held against the published numbers of its task; nothing where it is."""
    wanted = experiment.comparable.get(group.config["task"], {})
    other = [f"{name} {plain(group.config.get(name))}" for name in wanted if group.config.get(name) != wanted[name]]
    return f"{UNLIKE}: {', '.join(other)}" if other else ""
