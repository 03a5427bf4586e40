"""What a paper says is better than what, and whether our runs at equal configuration say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.judge import CLOSE, ENDLESS, FAILS, FEW, HOLDS, UNEQUAL, Pair, equal_pairs, sides_of, towards
from hardgrad_lab.runs.published import Claim
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import setting
from hardgrad_lab.runs.standing import unlike, weight
from hardgrad_lab.runs.words import NOT_RUN

HEADINGS = ("what the paper says", "where", "task, measure", "budget", "ours", "difference", "")
LEGEND = (
    "Judged at the largest budget that has both sides at equal configuration. Difference: of the means, in the "
    "direction of the claim, ± its standard error. It counts where chance would show it less than once in twenty times "
    "(Welch's test); a side of one run has no spread to judge by."
)


def judged(experiment: Experiment, groups: Sequence[Group]) -> list[list[str]]:
    """Return the rows of the claims on tasks that have runs, in the order of ``HEADINGS``.

    A claim has one row for each configuration of the largest budget in which both sides ran.
    """
    run = {group.config["task"] for group in groups}
    like = [group for group in groups if not unlike(experiment, group)]
    return [row for claim in experiment.claims if claim.task in run for row in _judge(experiment, claim, like)]


def _judge(experiment: Experiment, claim: Claim, groups: Sequence[Group]) -> list[list[str]]:
    """Return the rows of a claim; of one with alternatives, those of the one which does best."""
    metric = next(each for each in experiment.metrics if each.name == claim.metric)
    said = [claim.says, claim.source, f"{experiment.words_of(claim.task)}, {metric.title}"]
    sides = {name: _runs(claim, name, groups) for name in (claim.better, *claim.alternatives, claim.worse)}
    pairs = [pair for name in (claim.better, *claim.alternatives) for pair in _pairs(experiment, claim, name, sides)]
    if not pairs:
        missing = [name for name, found in sides.items() if not found]
        return [[*said, "-", "-", "-", f"{NOT_RUN}: {', '.join(missing)}" if missing else UNEQUAL]]
    largest = max(weight(experiment, *pair)[0] for pair in pairs)
    best: dict[str, tuple[tuple[float, ...], list[str]]] = {}
    for pair in (pair for pair in pairs if weight(experiment, *pair)[0] == largest):
        row = [" against ".join(dict.fromkeys(setting(experiment, group) for group in pair)), *sides_of(pair, metric)]
        # Of the claim's own alternatives the one that speaks for it; between settings nothing that they reached counts.
        apart = towards(metric, *(group.mean(metric.name) for group in pair))
        rank = (*(-each for each in weight(experiment, *pair)), row[0].count(","), _rank(row[-1]), -apart)
        if row[0] not in best or rank < best[row[0]][0]:
            best[row[0]] = rank, row
    return [[*said, *row] for _, row in sorted(best.values(), key=lambda each: each[0][:-2])]


def _rank(verdict: str) -> int:
    return next(place for place, said in enumerate((HOLDS, CLOSE, FEW, FAILS, ENDLESS)) if verdict.startswith(said))


def _pairs(experiment: Experiment, claim: Claim, winner: str, sides: Mapping[str, list[Group]]) -> list[Pair]:
    """Return both sides wherever their configurations are equal; what makes a contestant itself may differ."""
    own = {"contestant", *experiment.contestants[winner], *experiment.contestants[claim.worse], *claim.aside}
    return equal_pairs(sides[winner], sides[claim.worse], own)


def _runs(claim: Claim, contestant: str, groups: Sequence[Group]) -> list[Group]:
    """Return the runs of one side, in whatever configuration."""
    mine = [each for each in groups if (each.config["task"], each.config["contestant"]) == (claim.task, contestant)]
    return [each for each in mine if all(claim.metric in record.metrics for record in each.records)]
