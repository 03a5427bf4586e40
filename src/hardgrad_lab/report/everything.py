"""``hardgrad report`` without a name: every experiment on one page, first those of the paper, the others in brief."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardgrad_lab.drawing.figures import compact_svg, inline, save_figure
from hardgrad_lab.drawing.index import index_reports, link_to_index
from hardgrad_lab.drawing.page import as_markdown
from hardgrad_lab.drawing.render import render
from hardgrad_lab.drawing.section import Section
from hardgrad_lab.experiments import experiments
from hardgrad_lab.experiments.page import INTRODUCTION, TITLE
from hardgrad_lab.report import section
from hardgrad_lab.report.experiment import sections_of
from hardgrad_lab.report.experiment_claims import LEGEND as CLAIMS
from hardgrad_lab.report.experiment_table import LEGEND
from hardgrad_lab.report.glance import UNDECIDED, Glance, glance_at, in_markdown
from hardgrad_lab.runs.atomic import write_text
from hardgrad_lab.runs.records import Found, Group, NoRecordsError, read_records

LEGENDS = (f"Numbers: {LEGEND}", f"Claims: {CLAIMS}")
ORIGIN = ("part", "runs", "hours", "first", "last", "device", "threads", "versions", "commits")
ORIGIN_NUMERIC = (1, 2, 6)
OTHERS = "experiments.md"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Args:
        sections: the paper's tables and figures.
        warnings: one for each file that could not be used.
        page: the HTML page.
        markdown: the same in Markdown.
        pictures: the figures, PNG and SVG.
        guide: the files of the Markdown for documents, if it was asked for.
    """

    sections: Sequence[Section]
    warnings: Sequence[str]
    page: Path
    markdown: Path
    pictures: Sequence[Path]
    guide: Sequence[Path]


def report_everything(
    results: Path, out: Path, guide: Path | None = None, source: str = "", queue: Sequence[str] = ()
) -> Written:
    """Write the page of all experiments.

    Args:
        results: folder of the records.
        out: folder to write into; made when missing.
        guide: a Markdown file to write besides, with small pictures in ``pictures`` beside it: the paper's tables and
            figures; the other experiments go to ``OTHERS`` beside it.
        source: whose rows these are, in a line; empty where there is nothing to tell apart.
        queue: what a plan still asks for: a sum, then its parts.

    Raises:
        NoRecordsError: if there is not one readable record.
    """
    found = read_records(results)
    ours = _sections(found, results, brief=False)
    ours = [replace(each, legend=_own(each.legend), claim_legend="") for each in ours]
    rest = [replace(each, drawn=[]) for each in _sections(found, results, brief=True) if each.groups]  # tables alone
    warnings = [*found.warnings, *(warning for each in (*ours, *rest) for warning in each.warnings)]
    if not any(each.groups for each in (*ours, *rest)):
        make = "Make some with: hardgrad reproduce figure3"
        raise NoRecordsError(" ".join([f"no records in {results}.", *warnings, make]))
    page, markdown = out / "all.html", out / "all.md"
    pictures = {
        (each.anchor, drawing.name): save_figure(drawing.figure, out / f"{each.anchor}-{drawing.name}")
        for each in ours
        for drawing in each.drawn
    }
    first = glance_at(ours, queue)
    write_text(page, _html(ours, rest, first=first, warnings=warnings, source=source, links=link_to_index(out)))
    write_text(markdown, _markdown(ours, rest, first, {key: files[1].name for key, files in pictures.items()}))
    index_reports(out, source)
    return Written(
        sections=ours,
        warnings=warnings,
        page=page,
        markdown=markdown,
        pictures=[file for files in pictures.values() for file in files],
        guide=[] if guide is None else _guide(guide, ours, rest, first),
    )


def _sections(found: Found, results: Path, *, brief: bool) -> list[Section]:
    """Return the sections of the experiments that are shown in brief, or of the others, in the order of the list."""
    return [each for one in experiments() if one.brief == brief for each in sections_of(one, found, results)]


def _own(legend: str) -> str:
    """Return a legend, unless it is the one that stands once above all tables."""
    return "" if legend == LEGEND else legend


def _html(ours: Sequence[Section], rest: Sequence[Section], **more: Any) -> str:
    drawn = {
        each.anchor: [
            inline(drawing.figure, drawing.title, drawing.caption, named=f"{each.title}: {drawing.title}")
            for drawing in each.drawn
        ]
        for each in ours
    }
    return render(
        "everything.html.jinja",
        title=TITLE,
        undecided=UNDECIDED,
        trials=section.TRIALS,
        introduction=INTRODUCTION,
        legends=LEGENDS,
        sections=ours,
        others=rest,
        pictures=drawn,
        origin_headings=ORIGIN,
        origin_numeric=ORIGIN_NUMERIC,
        origins=origins((*ours, *rest)),
        is_bad=section.is_bad,
        **more,
    )


def _markdown(
    ours: Sequence[Section],
    rest: Sequence[Section],
    first: Glance,
    pictures: dict[tuple[str, str], str],
    more: Sequence[str] = (),
) -> str:
    parts = [f"# {TITLE}", in_markdown(first), "## How to read the tables", INTRODUCTION, *LEGENDS]
    return _joined([*parts, *_each_in_markdown((*ours, *rest), pictures), *more, *_origins_in_markdown((*ours, *rest))])


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _each_in_markdown(sections: Sequence[Section], pictures: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for each in sections:
        own = {drawing.name: pictures[each.anchor, drawing.name] for drawing in each.drawn}
        yield f'<a id="{each.anchor}"></a>\n\n## {each.title}\n\n{each.about} `hardgrad {each.command}`'
        yield section.as_markdown(each, own)


def _origins_in_markdown(sections: Sequence[Section]) -> list[str]:
    return ["## Where the numbers come from", as_markdown(ORIGIN, ORIGIN_NUMERIC, origins(sections), "")]


def _guide(guide: Path, ours: Sequence[Section], rest: Sequence[Section], first: Glance) -> list[Path]:
    """Write the Markdown for documents, on two pages, its pictures as small files on white."""
    folder, pictures = guide.parent / "pictures", {}
    for each in ours:
        for drawing in each.drawn:
            name = f"{each.anchor}-{drawing.name}.svg"
            write_text(folder / name, compact_svg(drawing.figure, f"{each.title}: {drawing.title}"))
            pictures[each.anchor, drawing.name] = f"{folder.name}/{name}"
    others = guide.with_name(OTHERS)
    links = "\n".join(f'- <a id="{each.anchor}"></a>[{each.title}]({OTHERS}#{each.anchor})' for each in rest)
    more = ["## Beside the paper", f"These stand on a [page of their own]({OTHERS}):", links] if rest else []
    write_text(guide, _markdown(ours, (), first, pictures, more))
    about = f"Experiments that the [page on the paper]({guide.name}) does not have: of other papers, and our own."
    top = ["# The other experiments", about, "## How to read the tables", *LEGENDS]
    write_text(others, _joined([*top, *_each_in_markdown(rest, pictures), *_origins_in_markdown(rest)]))
    return [guide, others, *(folder / Path(name).name for name in pictures.values())]


def origins(sections: Sequence[Section]) -> list[list[str]]:
    """Return where the numbers of each section with runs come from, in the order of ``ORIGIN``."""
    return [_origin(each.title, each.groups) for each in sections if each.groups]


def _origin(title: str, groups: Sequence[Group]) -> list[str]:
    records = [record for group in groups for record in group.records]
    where = [record.environment for record in records]
    started = sorted(record.started[:10] for record in records)
    versions = [", ".join(f"{name} {value}" for name, value in each.get("versions", {}).items()) for each in where]
    commits = [str(each.get("commit", "none"))[:10] + (" with changes" if each.get("dirty") else "") for each in where]
    return [
        title,
        str(len(records)),
        f"{sum(record.seconds for record in records) / 3600:.1f}",
        started[0],
        started[-1],
        _some([_machine(each) for each in where]),
        _some([str(each.get("threads", "")) for each in where]),
        _some(versions),
        _some(commits),
    ]


def _machine(environment: Mapping[str, Any]) -> str:
    """Return the device, and whatever else about the machine may move the last digits."""
    flags = [name for name in ("compiled", "bf16") if environment.get(name)]
    processes = environment.get("processes", 0)
    flags += [f"{processes} processes"] if processes else []
    return ", ".join([str(environment.get("device", "")), *flags])


def _some(values: Sequence[str], most: int = 3) -> str:
    """Return the distinct values, the first few of them."""
    distinct = list(dict.fromkeys(value for value in values if value))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return "; ".join(distinct[:most]) + more
