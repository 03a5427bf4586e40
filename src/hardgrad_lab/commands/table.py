"""A table in the terminal; where it is too narrow for the columns, each row as lines of its own."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 10_000  # columns that any table fits


def print_table(table: Table, console: Console) -> None:
    """Print a table so that no number is cut: as it is, or row by row where its columns do not fit.

    Args:
        table: of texts; its first column names the rows.
        console: where to print.
    """
    needed = console.measure(table, options=console.options.update(max_width=_WIDE)).minimum
    if needed <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, style="table.title", highlight=False)
    headings = [" ".join(_text(column.header).split()) for column in table.columns]
    for number, row in enumerate(table.rows):
        console.print()
        cells = [_text(list(column.cells)[number]) for column in table.columns]
        for heading, cell in zip(headings, cells, strict=True):
            said = " ".join(cell.split())
            if said:
                console.print(Text(f"{heading}: {said}" if heading else said, style=row.style or ""), highlight=False)
    console.print()


def _text(cell: object) -> str:
    return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell)
