"""``hardgrad report``: tables, figures and a page from the records that runs left."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from rich.console import Console

from hardgrad_lab.commands.show import show_report

app = App(name="report", help="Make tables, figures and a page from records; nothing is trained.")


@app.command
def sorting(*, results: Path = Path("results"), out: Path | None = None) -> int:
    """Put our runs of neural sorting beside the published numbers.

    Parameters
    ----------
    results
        Folder of the records.
    out
        Folder for the report; by default ``report`` in the folder of the records.
    """
    return show_report(results, results / "report" if out is None else out, Console())
