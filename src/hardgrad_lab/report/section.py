"""A part of a report: a table with what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping

from hardgrad_lab.drawing import page
from hardgrad_lab.drawing.section import Section
from hardgrad_lab.runs.judge import ENDLESS
from hardgrad_lab.runs.standing import UNLIKE
from hardgrad_lab.runs.words import NOT_RUN

TRIALS = "Trials: one run each, beside those that count"


def is_bad(said: str) -> bool:
    """Return whether the last cell of a row says that something is missing, or not as the paper has it."""
    return any(words in said for words in ("short", "does not hold", ENDLESS, NOT_RUN, UNLIKE))


def folded(title: str, text: str) -> str:
    """Return Markdown that a reader may unfold."""
    return f"<details><summary>{title}</summary>\n\n{text.strip()}\n\n</details>"


def as_markdown(section: Section, pictures: Mapping[str, str] | None = None) -> str:
    """Return a section in Markdown, without its title.

    Args:
        section: what to write.
        pictures: the files of the drawings by their names, to be shown, and trials folded away; by default none is.
    """
    claims = page.as_markdown(section.claim_headings, (), section.claims_in_short, section.claim_legend)
    rows = section.cells if pictures is None else section.main
    table = page.as_markdown(section.headings, section.numeric, rows, section.legend)
    parts = [table] if section.cells else []
    if section.trials and pictures is not None:
        minor = page.as_markdown(section.headings, section.numeric, section.trials, "")
        parts.append(folded(TRIALS, minor))
    parts += section.notes
    if section.claims:
        parts.insert(0 if section.claims_first else len(parts), claims)
    parts += [
        f"![{each.title}]({pictures[each.name]})\n\n**{each.title}.** {each.caption}"
        for each in section.drawn
        if pictures is not None
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
