"""What a fit warns of when it is done: ranges with too few rows to learn from or judge by, and dead branches."""

from __future__ import annotations

import warnings
from typing import Any

import torch

import hardgrad as hg
from hardgrad_lab.fit.models.decide import solvable
from hardgrad_lab.fit.training.task import Task

INSPECTED = 4096  # training rows on which dead branches are looked for


def warn_of_ranges(estimator: Any, task: Task) -> None:
    """Warn of ranges with fewer rows than weights or without held-out rows, and of branches that say one thing.

    Args:
        estimator: fitted.
        task: that it was fitted to.
    """
    for said in [*_few_rows(estimator), *_nothing_held_out(estimator, task), *_ill(estimator, task)]:
        warnings.warn(said, UserWarning, stacklevel=3)


def _few_rows(estimator: Any) -> list[str]:
    """Lines alone: a network's weights may well outnumber its rows, since it is stopped where held-out rows say."""
    if estimator.branch != "linear":
        return []
    weights, ranges = estimator.architecture_.in_features + 1, estimator.ranges_
    return [
        f"range {i}, {ranges.label(i)}, has {rows} training rows for a line of {weights} weights for each target: it "
        "goes through its rows and says little elsewhere; join it with a neighbour, or give fewer inputs"
        for i, rows in enumerate(estimator.visits_)
        if 0 < rows < weights
    ]


def _nothing_held_out(estimator: Any, task: Task) -> list[str]:
    """Return a sentence where held-out rows choose the weights and a range has none of them."""
    if not len(task.held_out):
        return []
    ranges = estimator.ranges_
    held = torch.bincount(ranges.index(task.rows.key[task.held_out].cpu()), minlength=len(ranges)).tolist()
    blind = [i for i, rows in enumerate(held) if not rows and estimator.visits_[i]]
    if not blind:
        return []
    which = ", ".join(f"{i} {ranges.label(i)} ({estimator.visits_[i]} training rows)" for i in blind)
    return [f"no held-out row is in range {which}: nothing judged how well its weights serve other rows"]


def _ill(estimator: Any, task: Task) -> list[str]:
    """Return what is wrong with branches; looked for on rows spread over those trained on.

    A solved line, or any branch whose targets are all the same, is right to return one number.
    """
    if solvable(estimator):
        return []
    few = torch.linspace(0, len(task.train) - 1, min(INSPECTED, len(task.train))).long()
    rows = task.train[few.to(task.train.device)]
    x, key = (part.cpu() for part in task.rows.take(rows))
    target, index = task.target[rows].cpu(), estimator.ranges_.index(key)
    inspected = hg.switch.inspect(estimator.network_, x.double(), key).ranges
    return [
        problem
        for i, each in enumerate(inspected)
        if each.rows and len(target[index == i].unique(dim=0)) > 1
        for problem in each.problems()
    ]
