"""The first screen of the page of all experiments: what is reproduced, beaten and refuted, in a line each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hardgrad_lab.drawing.section import Section
from hardgrad_lab.report.section import folded
from hardgrad_lab.runs.judge import CLOSE, ENDLESS, FAILS, FEW, HOLDS
from hardgrad_lab.runs.setting import in_short
from hardgrad_lab.runs.standing import Standing
from hardgrad_lab.runs.words import NOT_RUN, say_mean, unit_of

# An outcome, and how begins what is said of a number or of a claim that came out so; those of the first screen, then
# those that a reader may unfold.
DECIDED = {
    "Reproduced": ("as published", HOLDS),
    "Beaten": ("better",),
    "Refuted, at our budget": (FAILS,),
    "Short of": ("short",),
}
OPEN = {
    "Too close to say": (CLOSE,),
    "Too few runs to say": (FEW,),
    "No finite number": (ENDLESS,),
    "Not run": (NOT_RUN,),
}
UNDECIDED = "What is open: too close to say, of too few runs, not run"
LEGEND = (
    "A line gives ours for the published number, with the sample standard deviation over n runs; or the difference in "
    "the direction of the claim, with its standard error, and n of the smaller side. Decided is what chance shows less "
    "than once in twenty times (Welch's test), one comparison at a time: of {} comparisons chance alone would decide "
    "about {:.0f}. Which runs count is chosen by no look at results: the largest budget, in it the experiment's own "
    "setting, of that the longest training of three runs or, failing that, of most runs. One run decides nothing, two "
    "do not show that numbers are the same."
)
# How the headline counts them.
NUMBERS = {
    "as published": "are reproduced", "better": "beaten", "short": "not reached", FEW: "have too few runs",
    NOT_RUN: "are not run",
}  # fmt: skip
CLAIMS = {HOLDS: "hold", FAILS: "do not hold here", CLOSE: "are too close to say", FEW: "have too few runs"}
WORDS = {CLOSE: "too close to say", FEW: "of too few runs"}  # in the middle of a sentence
OURS = "ours"  # the source of a claim that no paper makes
Line = tuple[Section, str]
MOST = 3  # comparisons that a line tells apart; of more it says how many


@dataclass(frozen=True, kw_only=True)
class Glance:
    """The first screen.

    Args:
        headline: how many numbers and claims of the paper came out how.
        decided: the lines of each outcome, with the section that each is of: numbers first, then claims.
        undecided: what a reader may unfold.
        queue: what a plan still asks for: a sum, then its parts.
        legend: how to read it.
    """

    headline: str
    decided: Mapping[str, Sequence[Line]]
    undecided: Mapping[str, Sequence[Line]]
    queue: Sequence[str]
    legend: str


def glance_at(sections: Sequence[Section], queue: Sequence[str] = ()) -> Glance:
    """Return the first screen of some sections, and of what a plan still asks for."""
    numbers = [each.kind for section in sections for each in section.standings]
    claims = [row[-1] for section in sections for row in _of_the_paper(section)]
    said = (
        f"Of the {len(numbers)} numbers that the paper prints {_count(numbers, NUMBERS)}. Of {len(claims)} comparisons "
        f"that it makes in words {_count(claims, CLAIMS)}."
    )
    judged = len(claims) + sum(kind != NOT_RUN for kind in numbers)
    decided, undecided = (_lines(sections, outcomes) for outcomes in (DECIDED, OPEN))
    legend = LEGEND.format(judged, judged / 20)
    return Glance(headline=said, decided=decided, undecided=undecided, queue=queue, legend=legend)


def in_markdown(glance: Glance) -> str:
    """Return the first screen in Markdown."""
    decided, undecided = (
        "\n\n".join(
            "\n".join([f"**{name}**", "", *(f"- [{of.part}](#{of.anchor}): {says}" for of, says in lines)])
            for name, lines in outcomes.items()
        )
        for outcomes in (glance.decided, glance.undecided)
    )
    parts = [glance.headline, decided, folded(UNDECIDED, undecided)]
    parts += [folded(glance.queue[0], "\n".join(f"- {each}" for each in glance.queue[1:]))] if glance.queue else []
    return "\n\n".join([*parts, glance.legend])


def in_brief(sections: Sequence[Section], page: str) -> str:
    """Return the first screen for a page that has more to say: numbers in full, of claims the refuted ones.

    Args:
        sections: of the report.
        page: where the whole of it is, such as ``reproduction.md``.
    """
    parts = [glance_at(sections).headline]
    for name, starts in DECIDED.items():
        numbers = [line for each in sections for line in _numbers(each, starts)]
        claims = [line for each in sections for line in _claims(each, starts)] if FAILS in starts else []
        said = [f"- [{of.part}]({page}#{of.anchor}): {says}" for of, says in (*numbers, *claims)]
        said += _tally(sections, starts, page) if not claims else []
        parts.append("\n".join([f"**{name}**", "", *said]))
    kinds = {WORDS[FEW]: (FEW,), "not run": (NOT_RUN,)}
    waiting = [line for words, starts in kinds.items() for line in _waiting(sections, words, starts, page)]
    waiting += [line for kind in (CLOSE, FEW) for line in _tally(sections, (kind,), page, WORDS[kind])]
    return "\n\n".join([*parts, "\n".join(["**Open**", "", *waiting])])


def _tally(sections: Sequence[Section], starts: tuple[str, ...], page: str, words: str = "hold") -> list[str]:
    """Return how many of a paper's comparisons came out so, and in which sections, in a line."""
    counts = [(each, sum(row[-1].startswith(starts) for row in _of_the_paper(each))) for each in sections]
    all_of_them = sum(len(_of_the_paper(each)) for each in sections)
    where = ", ".join(f"{count} in [{each.part}]({page}#{each.anchor})" for each, count in counts if count)
    verb = words if words == "hold" else f"are {words}"
    return [f"- {sum(count for _, count in counts)} of {all_of_them} comparisons {verb}: {where}"] if where else []


def _waiting(sections: Sequence[Section], words: str, starts: tuple[str, ...], page: str) -> Iterator[str]:
    """Return how many of a paper's numbers are still open, and in which sections, in a line."""
    counts = [(each, sum(one.kind in starts for one in each.standings)) for each in sections]
    where = ", ".join(f"{count} in [{each.part}]({page}#{each.anchor})" for each, count in counts if count)
    if where:
        yield f"- {sum(count for _, count in counts)} numbers are {words}: {where}"


def _count(said: Sequence[str], kinds: dict[str, str]) -> str:
    counts = {words: sum(text.startswith(start) for text in said) for start, words in kinds.items()}
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count) or "none is judged"


def _lines(sections: Sequence[Section], outcomes: Mapping[str, tuple[str, ...]]) -> dict[str, list[Line]]:
    found = {
        name: [line for kind in (_numbers, _claims) for each in sections for line in kind(each, starts)]
        for name, starts in outcomes.items()
    }
    return {name: lines for name, lines in found.items() if lines}


def _numbers(section: Section, starts: tuple[str, ...]) -> Iterator[Line]:
    """Return a line a contestant; of a section that has no run to hold against a number, one of all."""
    mine = [each for each in section.standings if each.kind.startswith(starts)]
    if mine and all(each.kind == NOT_RUN for each in section.standings):
        yield section, f"all {len(mine)} numbers"
        return
    for name, title in dict.fromkeys((each.contestant, each.metric.title) for each in mine):
        own = [each for each in mine if (each.contestant, each.metric.title) == (name, title)]
        measure = "" if own[0].metric.form.endswith("%") or unit_of(own[0].metric) else f", {title}:"
        said = ", ".join(_number(section, each) for each in own)
        yield section, f"{name}{measure} {said}"


def _number(section: Section, standing: Standing) -> str:
    form, unit = standing.metric.form, unit_of(standing.metric)
    said = f"{format(standing.number.value, form)}{unit}{_at(section, standing.task)}"
    if standing.ours is None or standing.kind == NOT_RUN:
        return said
    return f"{say_mean(standing.ours, form)} for {said} ({standing.spent}, n={standing.ours.n})"


def _of_the_paper(section: Section) -> list[list[str]]:
    """Return the rows of a paper's own claims: of each the runs that count, and these against a rival set otherwise."""
    counted: dict[tuple[str, str], str] = {}
    rows = [row for row in section.claims if row[1] != OURS]
    return [row for row in rows if counted.setdefault((row[0], row[2]), _own(row)) == _own(row)]


def _own(row: Sequence[str]) -> str:
    return row[3].partition(" against ")[0]


def _claims(section: Section, starts: tuple[str, ...]) -> Iterator[Line]:
    """Return a line for each sentence of the paper, with the comparisons that came out so; other settings apart."""
    rows = _of_the_paper(section)
    for said, setting in dict.fromkeys((row[0], _other(row)) for row in rows):
        own = [row for row in rows if (row[0], _other(row)) == (said, setting)]
        mine = [row for row in own if row[-1].startswith(starts)]
        few = "; ".join(f"{_difference(section, row)}{_least([row])}" for row in mine)
        if mine:
            counts = f"{len(mine)} of {len(own)} comparisons{_least(mine)}"
            yield section, f"{said} ({few if len(own) <= MOST and NOT_RUN not in starts else counts}{setting})"


def _other(row: Sequence[str]) -> str:
    """Return the setting of a claim's runs where it is not a budget's own."""
    rival = row[3].partition(" against ")[2]
    return f", the rival at {rival}" if rival else f", {in_short(row[3], 2)}" if "," in row[3] else ""


def _difference(section: Section, row: Sequence[str]) -> str:
    """Return the difference of a claim's sides, with its unit, and where it was seen."""
    task, _, measure = row[2].partition(", ")
    return row[5] + ("" if row[5][-1].isalpha() else f" in {measure}") + _at(section, task)


def _at(section: Section, task: str) -> str:
    """Return where, in a section of several tasks."""
    return f" at {task}" if len({row[0] for row in section.cells}) > 1 else ""


def _least(rows: Iterable[Sequence[str]]) -> str:
    """Return the fewest runs that a side of the comparisons has."""
    runs = [int(n) for row in rows for n in re.findall(r"n=([0-9]+)", row[4])]
    return f", n={min(runs)}" if runs else ""
