"""``hardgrad report``: tables, figures and a page from the records that runs left; ``app`` as in ``reproduce``."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from rich.console import Console

from hardgrad_lab.commands.show import show_all
from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.runs.options import OWN_RUNS

ABOUT = "Make tables, figures and a page from records; nothing is trained. Without a name: all."


def everything(
    *, results: Path = OWN_RUNS, out: Path | None = None, guide: Path | None = None, plan: Path | None = None
) -> int:
    """Put all of the paper on bridges on one page, beside ours, and the other published experiments below it.

    Parameters
    ----------
    results
        Folder of the records: by default your own; `results` where the project is checked out has the committed ones.
    out
        Folder for the report; by default ``report`` in the folder of the records.
    guide
        A Markdown file to write as well, such as docs/evidence/reproduction.md; its pictures go to pictures/ beside it,
        and the experiments beside the paper to experiments.md.
    plan
        A plan file, to say what of it is still to be run; by default ``plan.toml`` among the records, if there is one.
    """
    usual, queue = results / "plan.toml", []
    if plan or usual.is_file():
        from hardgrad_lab.plan.file import read
        from hardgrad_lab.plan.listing import left

        queue = left([each for each in read(plan or usual) if not experiment(each.runs[0].experiment).brief], results)
    return show_all(results, results / "report" if out is None else out, guide, queue, Console(emoji=False))


def __getattr__(name: str) -> App:
    """Return the command, with a line for every experiment."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = App(name="report", help=ABOUT)
    app.default(everything)
    app.command(everything, name="all")
    for each in LIST:
        app.command(f"hardgrad_lab.commands.report_by_name:{each}", name=each)
    app.command("hardgrad_lab.commands.report_doctor:report_doctor", name="doctor")
    return app
