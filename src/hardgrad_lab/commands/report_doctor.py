"""``hardgrad report doctor``: pages, tables and pictures from the records of the bank; nothing is measured."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hardgrad_lab.runs.options import OWN_RUNS


def report_doctor(*, results: Path = OWN_RUNS / "doctor", out: Path | None = None, guide: Path | None = None) -> int:
    """Write a page for each examined function, and the tables and pictures of a guide.

    Parameters
    ----------
    results
        Folder of the records, which `hardgrad doctor bank` makes.
    out
        Folder for the pages; by default ``report`` in the folder of the records.
    guide
        A Markdown file whose marked blocks are written anew, such as docs/evidence/which-estimator.md; pictures go to
        pictures/ beside it.
    """
    from hardgrad_lab.doctor.bank import NAMES
    from hardgrad_lab.doctor.page.examination import write_examinations
    from hardgrad_lab.doctor.page.guide import write_guide
    from hardgrad_lab.doctor.record import load_all
    from hardgrad_lab.doctor.watched import load_watched
    from hardgrad_lab.runs.records import NoRecordsError, whose

    console = Console(emoji=False)
    found, watched = load_all(results, NAMES), load_watched(results)
    if not found and not watched:
        raise NoRecordsError(f"no records of the doctor in {results}. Make some with: hardgrad doctor bank")
    folder = results / "report" if out is None else out
    for page in write_examinations(found, folder, whose(results)):
        console.print(f"page     {page}", highlight=False, soft_wrap=True)
    if guide is not None:
        for path in write_guide(guide, found, watched):
            console.print(f"written  {path}", highlight=False, soft_wrap=True)
    return 0
