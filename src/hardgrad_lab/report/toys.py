"""The report on the toys: every estimator on the problem its paper shows, beside the paper's claim and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hardgrad_lab.drawing.figures import Drawn
from hardgrad_lab.drawing.page import Content, Drawing, Page, as_markdown, provenance, write_report
from hardgrad_lab.experiments.toys import CONTESTANTS, option_names
from hardgrad_lab.experiments.toys.figures import (
    BIASED,
    COINS,
    UNBIASED,
    along,
    over_inner,
    over_probability,
    over_simplex,
)
from hardgrad_lab.report import toys_claims as claims
from hardgrad_lab.report.toys_table import HEADINGS, LEGEND, NUMERIC, Named, by_task, cells, ordered
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import NoRecordsError, find_records, group_by_config

INTRODUCTION = (
    "The problems on which the papers on Monte Carlo gradients show their estimators, all estimators on each. rebar, "
    "relax: one Bernoulli variable b, the expectation of (b - t)^2 made small for t = 0.45 and 0.499, so that 0 is a "
    "little better than 1. disarm: the same for 0.499 made large. arms: the gradient's variance over the probability, "
    "for 2 to 10 draws. reinmax: 128 two-way variables, the sum of |b - 0.45|^p. gumbel-rao: a quadratic programme on "
    "the simplex, the variance at its points. Every number is measured beside the enumerated truth."
)
_BEST = "probability of the better outcome"
_LOG = "log variance of the gradient"


def report_toys(results: Path, out: Path, source: str = "") -> Page:
    """Write the report on all records of the toys under a folder.

    Args:
        results: folder of the records.
        out: folder to write into; made when missing.
        source: whose rows these are, in a line; empty where there is nothing to tell apart.

    Returns:
        The table and the paths of what was written.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    records, warnings = find_records(results, "toys", fault)
    groups = ordered(group_by_config(records))
    if not groups:
        make = "Make one with: hardgrad reproduce toys"
        raise NoRecordsError(" ".join([f"no records of toys in {results}.", *warnings, make]))
    tasks, table = by_task(groups), cells(groups)
    judged = claims.judged(tasks)
    content = Content(
        template="toys.html.jinja",
        title="Monte Carlo gradients on their toys",
        measure="What each reached, and what its gradient was worth",
        headings=HEADINGS,
        numeric=NUMERIC,
        cells=table,
        legend=LEGEND,
        drawn=_drawn(tasks),
        warnings=warnings,
        source=source,
        runs=provenance(groups, "{task}, {contestant}, {budget}"),
        more={"introduction": INTRODUCTION, "claims": judged, "claim_headings": claims.HEADINGS},
    )
    said = as_markdown(claims.HEADINGS, (), judged, "")
    return Page(**write_report(content, out / "toys", said + as_markdown(HEADINGS, NUMERIC, table, LEGEND)))


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
    missing = [name for name in option_names() if name not in record.config]
    missing += [name for name in ("log_variance", "bias_in_errors", "cosine") if name not in record.metrics]
    if missing:
        return f"lacks {', '.join(missing)}"
    task, name = record.config["task"], record.config["contestant"]
    return None if name in CONTESTANTS.get(task, {}) else f"is of an unknown toy or estimator ({task!r}, {name!r})"
