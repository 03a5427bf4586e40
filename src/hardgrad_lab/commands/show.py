"""Writing a report and showing its table in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table


def show_report(results: Path, out: Path, console: Console) -> int:
    """Write the report on sorting, print its table and the paths.

    Args:
        results: folder of the records.
        out: folder to write into.
        console: where to print.

    Returns:
        The exit status, 0.

    Raises:
        NoRecordsError: if there is nothing to report on.
    """
    from hardgrad_lab.report.sorting import NUMERIC, report_sorting
    from hardgrad_lab.report.sorting_table import HEADINGS, LEGEND

    made = report_sorting(results, out)
    for warning in made.warnings:
        console.print(warning, style="yellow", markup=False, soft_wrap=True)
    table = Table(
        title="Neural sorting: all-or-none test accuracy",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for number, heading in enumerate(HEADINGS):
        justify: Literal["left", "right"] = "right" if number in NUMERIC else "left"
        wraps = heading == "setting"  # 13 is what the others leave of 80 columns at their widest
        table.add_column(heading, justify=justify, no_wrap=not wraps, min_width=13 if wraps else None, overflow="fold")
    for row in made.rows:
        table.add_row(*row.cells())
    console.print(table)
    console.print(LEGEND, style="dim", highlight=False)
    for kind, path in [("table", made.markdown), *(("picture", path) for path in made.pictures), ("page", made.page)]:
        console.print(f"{kind:<8} {path}", highlight=False, soft_wrap=True)
    return 0
