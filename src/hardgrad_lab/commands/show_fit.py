"""The result of a fit in the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from hardgrad_lab.commands.table import print_table
from hardgrad_lab.fit.page.cells import (
    KNOB_HEADINGS,
    knob_cells,
    range_cells,
    range_headings,
    score_cells,
    score_headings,
)
from hardgrad_lab.fit.page.story import Story


def show_fit(story: Story, out: Path, console: Console, said: Sequence[str] = ()) -> None:
    """Print the ranges, the comparison, the warnings that were not said before, and where everything is."""
    print_table(_table(story.title, range_headings(story), range_cells(story)), console)
    if knob := knob_cells(story):
        print_table(_table("by the knob", KNOB_HEADINGS, knob), console)
    if len(story.scores) > 1:
        print_table(_table("against fair rivals", score_headings(story), score_cells(story)), console)
    console.print(story.headline(), highlight=False)
    for warning in (warning for warning in story.warnings if warning not in said):
        console.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(f"model   {out}", highlight=False, soft_wrap=True)
    console.print(f"report  {out / 'report.html'}", highlight=False, soft_wrap=True)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        # Where it is narrow the names of the ranges give way, and no figure loses a digit.
        heading = textwrap.fill(heading, 10, break_long_words=False)
        table.add_column(heading, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
