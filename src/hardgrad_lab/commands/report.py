"""``hardgrad report``: tables, figures and a page from the records that runs left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cyclopts import App
from rich.console import Console

from hardgrad_lab.commands.report_doctor import report_doctor
from hardgrad_lab.commands.show import EXPERIMENTS, show_report

app = App(name="report", help="Make tables, figures and a page from records; nothing is trained.")


def _command(experiment: str) -> Callable[..., int]:
    def report(*, results: Path = Path("results"), out: Path | None = None) -> int:
        return show_report(experiment, results, results / "report" if out is None else out, Console())

    report.__doc__ = f"""{EXPERIMENTS[experiment]}

    Parameters
    ----------
    results
        Folder of the records.
    out
        Folder for the report; by default ``report`` in the folder of the records.
    """
    return report


for name in EXPERIMENTS:
    app.command(_command(name), name=name)
app.command(report_doctor, name="doctor")
