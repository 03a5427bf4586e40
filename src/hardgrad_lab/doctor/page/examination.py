"""The doctor's report on one function: a picture, a table in Markdown and one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hardgrad_lab.doctor.page import figures
from hardgrad_lab.doctor.page.table import HEADINGS, LEGEND, NUMERIC, about_truth, lines
from hardgrad_lab.doctor.record import Examination
from hardgrad_lab.drawing.index import neighbours, write_index
from hardgrad_lab.drawing.page import Content, as_markdown, write_page
from hardgrad_lab.drawing.render import Link
from hardgrad_lab.drawing.section import Drawing

OVERVIEW = (
    "First: the direction of the average gradient (filled, two standard errors) and of one gradient (hollow); in the "
    "shade a step makes the objective worse. Second: the error that stays, bias, and the error that averages out, "
    "noise, in lengths of the true gradient; no square where no bias was found. Third: the time of one gradient of the "
    "batch, and how often the function is evaluated for it."
)
INDEXED = (
    "Hard functions, and how well each estimator points where the true gradient of the function, blurred a little, "
    "points. Use: what gains most for the next step. Uphill: a step along it makes things worse."
)
BUDGET = (
    "The cosine with the truth of an average of as many gradients as the time allows, from one gradient of the fastest "
    "estimator on. Where a line stays level, more time does not help: what is left is bias."
)


def write_examination(
    found: Examination, folder: Path, name: str = "doctor", links: Sequence[Link] = ()
) -> list[tuple[str, Path]]:
    """Write the report on one examination.

    Args:
        found: the examination.
        folder: to write into; made when missing.
        name: of the files.
        links: to other pages.

    Returns:
        What was written, each with what it is.
    """
    page = write_page(replace(_content(found, name), links=links), folder / name, table_of(found))
    pictures = [("picture", path) for path in page["pictures"]]
    return [("table", page["markdown"]), *pictures, ("page", page["page"])]


def write_examinations(found: Mapping[str, Examination], folder: Path, source: str = "") -> list[Path]:
    """Write a page for each examination, linked to its neighbours, and an index over all.

    Args:
        found: the examinations, by the names of their files.
        folder: to write into; made when missing.
        source: whose examinations these are, in a line.

    Returns:
        The pages, the index last.
    """
    names, titles = list(found), [each.title for each in found.values()]
    pages = []
    for i, (name, each) in enumerate(found.items()):
        written = write_examination(each, folder, name, neighbours(names, titles, i))
        pages += [path for kind, path in written if kind == "page"]
    index = write_index(
        folder,
        "The doctor's examinations",
        INDEXED,
        headings=("function", "what is examined", "use", "points uphill"),
        numeric=(),
        rows=[_indexed(each) for each in found.values()],
        hrefs=[f"{name}.html" for name in names],
        source=source,
    )
    return [*pages, *([] if index is None else [index])]


def _indexed(found: Examination) -> list[str]:
    advice = found.diagnosis.advice
    uphill = [line.name for line in lines(found.diagnosis) if line.tone == "uphill"]
    return [found.title, found.about, advice.partition(":")[0].removeprefix("use "), ", ".join(uphill) or "none"]


def table_of(found: Examination) -> str:
    """Return the table in Markdown."""
    return as_markdown(HEADINGS, NUMERIC, [line.cells for line in lines(found.diagnosis)], LEGEND)


def _content(found: Examination, name: str) -> Content:
    diagnosis = found.diagnosis
    table = lines(diagnosis)
    drawn = [Drawing(name=name, title="At a glance", caption=OVERVIEW, figure=figures.overview(diagnosis))]
    if any(row.seconds for row in diagnosis.rows):  # nothing is timed where it was stopped before
        budget = Drawing(name=f"{name}-budget", title="For your time", caption=BUDGET, figure=figures.budget(diagnosis))
        drawn.append(budget)
    return Content(
        template="doctor.html.jinja",
        title=found.title,
        measure="Estimators of its gradient",
        headings=HEADINGS,
        numeric=NUMERIC,
        cells=[line.cells for line in table],
        legend=LEGEND,
        drawn=drawn,
        warnings=list(diagnosis.warnings),
        runs=[provenance(found)],
        more={
            "about": found.about,
            "smoothed": diagnosis.about,
            "truth": about_truth(diagnosis),
            "inputs": found.source,
            "advice": diagnosis.advice,
            "refused": [(line.name, line.refusal) for line in table if line.refusal],
        },
    )


def provenance(found: Examination) -> dict[str, str]:
    """Return where the numbers come from."""
    where = found.environment
    return {
        "name": f"{found.title}, seed {found.options['seed']}",
        "started": found.started,
        "seconds": f"{found.seconds:,.0f}",
        "device": str(where.get("device", "")),
        "threads": str(where.get("threads", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items()),
        "commit": str(where.get("commit", ""))[:10] + (" with changes" if where.get("dirty") else ""),
    }
