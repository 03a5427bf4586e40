"""What a report says of the toys: every estimator on its paper's problem, beside the paper's claim and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hardgrad_lab.drawing.layout import Drawn
from hardgrad_lab.drawing.section import Drawing, Section
from hardgrad_lab.experiments.toys import CONTESTANTS, TOYS, claims
from hardgrad_lab.experiments.toys.figures import (
    BIASED,
    COINS,
    UNBIASED,
    along,
    over_inner,
    over_probability,
    over_simplex,
)
from hardgrad_lab.experiments.toys.table import HEADINGS, LEGEND, NUMERIC, Named, by_task, cells, ordered
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Found, group_by_config

INTRODUCTION = (
    "The problems on which the papers on Monte Carlo gradients show their estimators, all estimators on each. rebar, "
    "relax: one Bernoulli variable b, the expectation of (b - t)^2 made small for t = 0.45 and 0.499, so that 0 is a "
    "little better than 1. disarm: the same for 0.499 made large. arms: the gradient's variance over the probability, "
    "for 2 to 10 draws. reinmax: 128 two-way variables, the sum of |b - 0.45|^p. gumbel-rao: a quadratic programme on "
    "the simplex, the variance at its points. Every number is measured beside the enumerated truth."
)
TITLE = "Monte Carlo gradients on their toys"
_BEST = "probability of the better outcome"
_LOG = "log variance of the gradient"


def page(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the page of the toys: every estimator on every toy, and what the papers say of them."""
    del results  # the records hold the curves
    records, warnings = found.of(experiment.name, fault)
    groups = ordered(group_by_config(records, experiment.read))
    tasks = by_task(groups)
    return Section(
        anchor=experiment.name,
        title=TITLE,
        about=INTRODUCTION,
        command=f"report {experiment.name}",
        headings=HEADINGS,
        numeric=NUMERIC,
        cells=cells(groups),
        legend=LEGEND,
        claims=claims.judged(tasks),
        claim_headings=claims.HEADINGS,
        claim_title="What the papers say",
        claims_first=True,
        drawn=_drawn(tasks),
        warnings=warnings,
        groups=groups,
        measure="What each reached, and what its gradient was worth",
    )


def in_brief(experiment: Experiment, found: Found, results: Path) -> list[Section]:
    """Return what the papers say, and whether our runs say the same."""
    del results
    records, warnings = found.of(experiment.name, fault)
    groups = group_by_config(records, experiment.read)
    return [
        Section(
            anchor=experiment.name,
            title=TITLE,
            about="What each paper on Monte Carlo gradients says of its own toy, and whether our runs say the same.",
            command=f"report {experiment.name}",
            headings=claims.HEADINGS,
            numeric=(),
            cells=claims.judged(by_task(groups)),
            legend="",
            warnings=warnings,
            groups=groups,
        )
    ]


def _drawn(tasks: Mapping[str, Named]) -> list[Drawing]:
    coin = {task: groups for task, groups in tasks.items() if _is(groups, "coin") and _steps(groups)}
    many = {task: groups for task, groups in tasks.items() if _is(groups, "coins")}
    line = "The expected loss is a straight line in it. Mean over the copies."
    drawings = [
        _drawing("toys-unbiased", "Unbiased: what they learn", line, along(coin, UNBIASED, "best", _BEST)),
        _drawing("toys-variance", "Unbiased: variance", "", along(coin, UNBIASED, "log_variance", _LOG)),
        _drawing("toys-biased", "Through the sample: what they learn", line, along(coin, BIASED, "best", _BEST)),
        _drawing("toys-biased-variance", "Through the sample: variance", "", along(coin, BIASED, "log_variance", _LOG)),
        _drawing("toys-reinmax", "Polynomials of 128 variables", line, along(many, COINS, "best", _BEST)),
        *_surveys(tasks),
    ]
    return [each for each in drawings if each is not None]


def _surveys(tasks: Mapping[str, Named]) -> list[Drawing | None]:
    drawings = []
    for task, groups in tasks.items():
        mark = "" if len(task.split(",")) == 1 else f", {task}"
        name = f"toys-{task.replace(', ', '-').replace(' ', '-')}"
        if task.split(",")[0] == "arms":
            drawings.append(_drawing(name, f"Variance over the probability{mark}", "", over_probability(groups)))
        if _is(groups, "simplex"):
            saved = "Variance of straight-through Gumbel-Softmax over Gumbel-Rao's, 100 inner draws, at each point."
            drawings.append(_drawing(name, f"What Gumbel-Rao saves{mark}", saved, over_simplex(groups)))
            drawings.append(_drawing(f"{name}-inner", f"Inner draws of Gumbel-Rao{mark}", "", over_inner(groups)))
    return drawings


def _drawing(name: str, title: str, caption: str, figure: Drawn | None) -> Drawing | None:
    return None if figure is None else Drawing(name=name, title=title, caption=caption, figure=figure)


def _is(groups: Named, problem: str) -> bool:
    return all(group.config["problem"] == problem for group in groups.values())


def _steps(groups: Named) -> bool:
    return all(group.config["steps"] for group in groups.values())


def fault(record: Record) -> str | None:
    """Return what keeps a record out of the report."""
    known = [TOYS.keys.get(name, name) for name in (*TOYS.names, *TOYS.options())]
    missing = [name for name in known if name not in record.config]
    missing += [name for name in ("log_variance", "bias_in_errors", "cosine") if name not in record.metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    task, name = record.config["task"], record.config["contestant"]
    return None if name in CONTESTANTS.get(task, {}) else f"is of an unknown toy or estimator ({task!r}, {name!r})"
