"""A part of a report as a value: a table with what belongs to it, and figures with what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import in_short
from hardgrad_lab.runs.standing import Standing

if TYPE_CHECKING:  # a table can be made without matplotlib
    from hardgrad_lab.drawing.clips import Clip
    from hardgrad_lab.drawing.layout import Drawn

FIGURE_ONLY = "figure only, no numbers printed"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure and what is said with it.

    Args:
        name: of its files, without a suffix.
        title: above it.
        caption: below it.
        figure: what to draw.
    """

    name: str
    title: str
    caption: str
    figure: Drawn


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that stands beside the section's own.

    Args:
        headings: of the columns.
        numeric: which of them hold figures.
        cells: row by row.
        legend: below it.
    """

    headings: Sequence[str]
    numeric: Sequence[int]
    cells: list[list[str]]
    legend: str


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Clips to compare by ear.

    Args:
        name: above them.
        clips: the players.
    """

    name: str
    clips: Sequence[Clip]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table or figure of a paper, redone.

    Args:
        anchor: its id on a page, such as ``table-v``.
        title: such as ``Table V and figure 9: density``.
        about: what is done there, one or two sentences.
        command: the arguments of ``hardgrad`` that make its records.
        headings: of the table's columns.
        numeric: which of them hold figures.
        cells: the table.
        legend: below the table.
        claims: what the paper says of it and whether ours agrees, one row a claim.
        claim_headings: above them.
        claim_legend: below them.
        drawn: the figures.
        notes: what else a reader must know.
        warnings: one for each record that could not be used.
        groups: of the records.
        standings: how ours stands to each published number.
        trials: rows of the table of one run each, that stand beside one that counts; a long page folds them away.
        measure: above the table, on a page of its own; what follows is for such a page as well.
        details: paragraphs that a reader may unfold.
        glance: a short table that stands before a long one.
        sounds: clips to listen to.
        claim_title: above the claims.
        claims_first: the claims stand above the table.
        run_name: a format string over a record's configuration, for the list of runs.
        shown: which columns a terminal has room for; by default all.
        wraps: words of the table may be broken in a terminal, but for the columns 0, 1 and 3.
    """

    anchor: str
    title: str
    about: str
    command: str
    headings: Sequence[str]
    numeric: Sequence[int]
    cells: list[list[str]]
    legend: str
    claims: list[list[str]] = field(default_factory=list)
    claim_headings: Sequence[str] = ()
    claim_legend: str = ""
    drawn: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    groups: Sequence[Group] = ()
    standings: Sequence[Standing] = ()
    trials: Sequence[Sequence[str]] = ()
    measure: str = "Ours beside the published numbers"
    details: Sequence[str] = ()
    glance: Table | None = None
    sounds: Sequence[Sound] = ()
    claim_title: str = "What the paper says"
    claims_first: bool = False
    run_name: str = "{task}, {contestant}, {budget}"
    shown: Sequence[int] | None = None
    wraps: bool = False

    @property
    def part(self) -> str:
        """Return the table or figure, without its title."""
        return self.title.partition(":")[0]

    @property
    def claims_in_short(self) -> list[list[str]]:
        """Return the claims with long settings cut."""
        return [[*row[:3], " against ".join(map(in_short, row[3].split(" against "))), *row[4:]] for row in self.claims]

    @property
    def main(self) -> list[list[str]]:
        """Return the rows of the table that are no trials."""
        return [row for row in self.cells if row not in self.trials]
