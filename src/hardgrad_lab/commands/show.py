"""Writing a report and showing its table in the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from hardgrad_lab.commands.machine import is_first
from hardgrad_lab.commands.table import print_table
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.words import NOT_RUN

# Columns that may wrap, and the width they keep: what the others leave of 80 columns at their widest.
WRAPS = {"setting": 13, "budget": 9, "ESR": 8, "ESR train": 8, "ESR later": 8, "ESR unseen": 8}
# Of a described experiment: what the files say more of, a published number's runs and source, the unit of a mark.
MORE = re.compile(r" \([^()]*\)$| points$")
NEVER_WRAP = (0, 1, 3)  # of a described experiment: task, contestant and what decides


def show_report(experiment: Experiment, results: Path, out: Path, console: Console) -> int:
    """Write the report on an experiment, print its table and the paths.

    Args:
        experiment: what was run.
        results: folder of the records.
        out: folder to write into.
        console: where to print.

    Returns:
        The exit status, 0. In a shared run the first process alone does all this.

    Raises:
        NoRecordsError: if there is nothing to report on.
    """
    if not is_first():
        return 0
    from hardgrad_lab.report.experiment import report_experiment
    from hardgrad_lab.runs.records import reporting, whose

    with reporting(results):
        made = report_experiment(experiment, results, out, whose(results))
    for warning in made.warnings:
        console.print(warning, style="yellow", markup=False, soft_wrap=True)
    table = Table(title=made.title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    columns = range(len(made.headings)) if made.shown is None else made.shown
    for number in columns:
        heading = made.headings[number]
        justify: Literal["left", "right"] = "right" if number in made.numeric else "left"
        least = WRAPS.get(heading)
        # What a described experiment says in words may wrap: its setting, a published number's source, the mark.
        whole = least is None and (not made.wraps or number in NEVER_WRAP)
        short = "published" if heading.startswith("published, ") else heading  # where, the files say
        said = textwrap.fill(short, 11, break_long_words=False) if made.wraps else heading
        table.add_column(said, justify=justify, no_wrap=whole, min_width=least, overflow="fold")
    run = [cells for cells in made.cells if not made.wraps or cells[-1] != NOT_RUN]
    for cells in run:
        table.add_row(*(MORE.sub("", cells[number]) if made.wraps else cells[number] for number in columns))
    print_table(table, console)
    if without := len(made.cells) - len(run):
        console.print(
            f"{without} more rows of the paper are not run; the files have them.", style="dim", highlight=False
        )
    console.print(made.legend, style="dim", highlight=False)
    console.print(whose(results), style="dim", highlight=False, soft_wrap=True)
    if len(columns) < len(made.headings):
        rest = [made.headings[number] for number in range(len(made.headings) - 1) if number not in columns]
        console.print(f"In the files besides: {', '.join(rest)}.", style="dim", highlight=False)
    for kind, path in [("table", made.markdown), *(("picture", path) for path in made.pictures), ("page", made.page)]:
        console.print(f"{kind:<8} {path}", highlight=False, soft_wrap=True)
    return 0


def show_all(results: Path, out: Path, guide: Path | None, queue: Sequence[str], console: Console) -> int:
    """Write the page of all experiments, print its first screen and the paths.

    Args:
        results: folder of the records.
        out: folder to write into.
        guide: a Markdown file to write as well.
        queue: what a plan still asks for: a sum, then its parts.
        console: where to print.

    Returns:
        The exit status, 0.

    Raises:
        NoRecordsError: if there is nothing to report on.
    """
    from hardgrad_lab.report.everything import report_everything
    from hardgrad_lab.report.glance import glance_at
    from hardgrad_lab.runs.records import reporting, whose

    with reporting(results):
        made = report_everything(results, out, guide, whose(results), queue)
    for warning in made.warnings:
        console.print(warning, style="yellow", markup=False, soft_wrap=True)
    first = glance_at(made.sections)
    console.print(first.headline, highlight=False)
    for name, lines in first.decided.items():
        console.print(name, style="bold")
        for of, says in lines:
            console.print(f"  {of.part}: {says}", highlight=False, markup=False)
    for line in queue[:1]:
        console.print(line, highlight=False)
    console.print(whose(results), style="dim", highlight=False, soft_wrap=True)
    for path in (made.markdown, *made.guide, made.page):
        console.print(f"written  {path}", highlight=False, soft_wrap=True)
    console.print(f"pictures {len(made.pictures)} in {out}", highlight=False, soft_wrap=True)
    return 0
