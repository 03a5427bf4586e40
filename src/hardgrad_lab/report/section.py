"""A part of a report: a table with what belongs to it, and what it comes to in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hardgrad_lab.drawing import page
from hardgrad_lab.drawing.section import FIGURE_ONLY, Section
from hardgrad_lab.report.experiment_table import UNLIKE
from hardgrad_lab.runs.judge import CLOSE, ENDLESS, FAILS, FEW, HOLDS
from hardgrad_lab.runs.words import NOT_RUN

SUMMARY = ("part", "result", "published numbers", "claims", "runs", "budget")


def summary(section: Section) -> list[str]:
    """Return one line on a section, in the order of ``SUMMARY``."""
    runs = sum(group.n for group in section.groups)
    budgets = dict.fromkeys(str(group.config.get("budget", group.config.get("setting"))) for group in section.groups)
    return [
        section.title,
        _result(section),
        _counted(section.standings, KINDS) or FIGURE_ONLY,
        _counted([claim[-1] for claim in section.claims], VERDICTS) or "-",
        str(runs),
        ", ".join(budgets) or "-",
    ]


# Beginnings of what is said of a number and of a claim, and the words of the summary. The order is that of the summary.
KINDS = {"as published": "as published", "better": "better", "short": "short", UNLIKE: UNLIKE, NOT_RUN: NOT_RUN}
VERDICTS = {
    HOLDS: "held", FAILS: "not held", CLOSE: "too close", FEW: "too few runs", ENDLESS: ENDLESS, NOT_RUN: NOT_RUN,
}  # fmt: skip


def is_bad(said: str) -> bool:
    """Return whether the last cell of a row says that something is missing, or not as the paper has it."""
    return any(words in said for words in ("short", "does not hold", ENDLESS, NOT_RUN, UNLIKE))


def _counted(said: Sequence[str], kinds: dict[str, str]) -> str:
    found = Counter(words for text in said for start, words in kinds.items() if text.startswith(start))
    return ", ".join(f"{found[words]} {words}" for words in kinds.values() if found[words])


def _result(section: Section) -> str:
    """Return what a reader in a hurry should take from a section."""
    if not section.groups:
        return NOT_RUN
    words = []
    if section.standings:
        kinds = {next(kind for kind in KINDS if text.startswith(kind)) for text in section.standings}
        words += ["falls short"] if "short" in kinds else []
        words += ["numbers reached"] if kinds <= {"as published", "better"} else []
        words += ["not comparable"] if UNLIKE in kinds else []
        words += ["in part not run"] if NOT_RUN in kinds else []
    said = [claim[-1] for claim in section.claims]
    if any(text.startswith(FAILS) for text in said):
        words.append("a claim does not hold")
    elif said:
        held = sum(text.startswith(HOLDS) for text in said)
        words.append(f"{held} of {len(said)} claims hold" if held else "claims undecided")
    return ", ".join(words) or "redrawn"


def as_markdown(section: Section, pictures: Mapping[str, str] | None = None) -> str:
    """Return a section in Markdown, without its title.

    Args:
        section: what to write.
        pictures: the files of the drawings by their names, to be shown; by default none is.
    """
    claims = page.as_markdown(section.claim_headings, (), section.claims, section.claim_legend)
    table = page.as_markdown(section.headings, section.numeric, section.cells, section.legend)
    parts = [table] if section.cells else []
    parts += section.notes
    if section.claims:
        parts.insert(0 if section.claims_first else len(parts), claims)
    parts += [
        f"![{each.title}]({pictures[each.name]})\n\n**{each.title}.** {each.caption}"
        for each in section.drawn
        if pictures is not None
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
