"""The tables and pictures of a guide in Markdown, written into it from the records of the bank.

A block begins with ``<!-- doctor: NAME ARGUMENT -->`` and ends with ``<!-- end -->``; what stands between is written
anew, so that no number of the guide is typed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hardgrad_lab.doctor.page import figures
from hardgrad_lab.doctor.page.table import HEADINGS, NONE, NUMERIC, bias_of, duration, lines, noise_of, share
from hardgrad_lab.doctor.record import Examination, Row
from hardgrad_lab.doctor.watched import Watched
from hardgrad_lab.drawing.figures import compact_svg
from hardgrad_lab.runs.atomic import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A block must not swallow the beginning of the next, should an end be missing.
BLOCK = re.compile(r"(<!-- doctor: (\S+) ?([^\n]*?) -->\n)(?:(?!<!-- doctor:).)*?(<!-- end -->)", re.DOTALL)
UPHILL = "▲"
ANY = (
    *("autograd", "straight_through", "perturb", "perturb, coordinates", "bridge", "score_function"),
    "score_function, 8 left out",
)
# Of records that were made when these had other names.
_RENAMED = {
    "montecarlo.straight_through": "straight_through_estimator",
    "montecarlo.bridge": "bridge_estimator",
    "rebar, learnt": "rebar, learned",
}
Records = Mapping[str, Examination]


def write_guide(guide: Path, found: Records, watched: Sequence[Watched]) -> list[Path]:
    """Write every block of a guide anew, and the pictures it shows.

    Args:
        guide: a Markdown file.
        found: the examinations, by name.
        watched: bridges over training.

    Returns:
        What was written.

    Raises:
        ValueError: if a block is unknown, or asks for a record that is not there.
    """
    drawn: dict[str, Figure] = {}
    found = {name: _renamed(case) for name, case in found.items()}
    text = guide.read_text(encoding="utf-8")
    written = BLOCK.sub(
        lambda block: f"{block[1]}{_block(block[2], block[3], found, watched, drawn)}\n{block[4]}", text
    )
    folder = guide.parent / "pictures"
    for name, figure in drawn.items():
        write_text(folder / f"{name}.svg", compact_svg(figure, name))
    write_text(guide, written)
    return [guide, *(folder / f"{name}.svg" for name in drawn)]


def _block(name: str, argument: str, found: Records, watched: Sequence[Watched], drawn: dict[str, Figure]) -> str:
    makers: dict[str, Callable[[], str]] = {
        "discrete": lambda: _discrete(argument, found),
        "any": lambda: _any(argument, found),
        "among": lambda: _among(argument, found),
        "pick": lambda: _pick(argument, found),
        "picture": lambda: _picture(_one(argument, found), drawn),
        "report": lambda: _report(_one(argument, found), drawn),
        "uphill": lambda: _uphill(found),
        "watch": lambda: _watch(watched, drawn),
        "origin": lambda: _origin(found),
    }
    if name not in makers:
        raise ValueError(f"the guide asks for a block {name!r}; there are {', '.join(makers)}")
    return makers[name]()


def _one(name: str, found: Records) -> Examination:
    if name not in found:
        raise ValueError(f"the guide needs the record {name!r}; make it with: hardgrad doctor bank --only {name}")
    return found[name]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] | None = None) -> str:
    right = range(1, len(headings)) if numeric is None else numeric
    rule = ["--:" if i in right else "---" for i in range(len(headings))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (headings, rule, *rows))


def _renamed(case: Examination) -> Examination:
    rows = tuple(replace(row, name=_RENAMED.get(row.name, row.name)) for row in case.diagnosis.rows)
    return replace(case, diagnosis=replace(case.diagnosis, rows=rows))


# ------------------------------------------------------------------------------------------ all estimators


def _discrete(measure: str, found: Records) -> str:
    """One measure of all estimators, a column for each case whose samples are discrete."""
    return _grid(measure, [each for each in found.values() if each.diagnosis.noise != "gaussian"])


def _among(argument: str, found: Records) -> str:
    """One measure of all estimators on some cases: ``MEASURE: a; b; c``."""
    measure, _, names = argument.partition(": ")
    return _grid(measure, [_one(name.strip(), found) for name in names.split(";")])


def _grid(measure: str, cases: Sequence[Examination]) -> str:
    cells: dict[str, Callable[[Row, Examination], str]] = {
        "cosine": lambda row, _: _marked(row),
        "gain": lambda row, _: NONE if row.progress is None else f"{share(row.progress)} ({bias_of(row)})",
        "bias": lambda row, _: bias_of(row),
        "noise": lambda row, _: share(noise_of(row)),
        "progress": lambda row, _: NONE if row.progress is None else share(row.progress),
        "time": lambda row, _: duration(row.seconds),
        "f": lambda row, _: NONE if row.evaluations is None else f"{row.evaluations:.4g}",
    }
    if measure not in cells:
        raise ValueError(f"the guide asks for the measure {measure!r}; there are {', '.join(cells)}")
    names = dict.fromkeys(row.name for case in cases for row in case.diagnosis.rows)
    rows = []
    for name in names:
        mine = [_row(case, name) for case in cases]
        line = [
            "" if row is None else _or_why(row, cells[measure](row, case))
            for row, case in zip(mine, cases, strict=True)
        ]
        rows.append([name, *line])
    return _table(["estimator", *(case.title for case in cases)], rows)


def _row(case: Examination, name: str) -> Row | None:
    return next((row for row in case.diagnosis.rows if row.name == name), None)


def _or_why(row: Row, cell: str) -> str:
    return "refused" if row.error is not None else "flat" if row.flat else cell


def _marked(row: Row) -> str:
    """A cosine, marked where it is below zero."""
    if row.cosine is None:
        return NONE
    return f"**{row.cosine:.2f} {UPHILL}**" if row.uphill else f"{row.cosine:.2f}"


# ------------------------------------------------------------------------------------------ other functions


def _any(measure: str, found: Records) -> str:
    """The candidates that any hard function has, a line for each function."""
    cases = [case for case in found.values() if case.diagnosis.noise == "gaussian"]
    rows = []
    for case in cases:
        line = []
        for name in ANY:
            row = _row(case, name)
            line.append("" if row is None else _or_why(row, _measures(row, measure)))
        rows.append([f"`{case.title}`" if case.title == case.name else case.title, *line])
    return _table(["function", *ANY], rows)


def _measures(row: Row, measure: str) -> str:
    if measure == "progress":
        return NONE if row.progress is None else share(row.progress)
    return f"{_marked(row)}, {bias_of(row)}, {share(noise_of(row))}"


# ------------------------------------------------------------------------------------------ one examination


def _pick(argument: str, found: Records) -> str:
    """Some estimators on one case: ``CASE: a; b; c``."""
    name, _, wanted = argument.partition(": ")
    case = _one(name, found)
    rows = []
    for estimator in (word.strip() for word in wanted.split(";")):
        cells = next((line.cells for line in lines(case.diagnosis) if line.name == estimator), None)
        if cells is None:
            raise ValueError(f"the guide asks for {estimator!r} on {name}, which was not examined there")
        rows.append([_plain(cell) for cell in cells])
    return _table(HEADINGS, rows, list(NUMERIC))


def _picture(case: Examination, drawn: dict[str, Figure]) -> str:
    name = f"doctor-{case.name}"
    drawn[name] = figures.overview(case.diagnosis)
    return f"![{case.title}: direction, error and cost of every estimator](pictures/{name}.svg)"


def _report(case: Examination, drawn: dict[str, Figure]) -> str:
    """Picture, table, warnings and advice."""
    diagnosis = case.diagnosis
    rows = [[_plain(cell) for cell in line.cells] for line in lines(diagnosis)]
    refused = [f"{line.name} refused: {line.refusal}" for line in lines(diagnosis) if line.refusal]
    warned = "\n".join(f"- {text}" for text in (*diagnosis.warnings, *refused))
    return (
        f"{case.about} Inputs: {case.source}, {diagnosis.shape[0]} rows.\n\n"
        f"{_picture(case, drawn)}\n\n"
        f"{_table(HEADINGS, rows, list(NUMERIC))}\n\n{warned}\n\nAdvice: {diagnosis.advice}"
    )


def _plain(cell: str) -> str:
    return f"**{cell} {UPHILL}**" if cell == "UPHILL" else cell


def _uphill(found: Records) -> str:
    """Who pointed uphill, where, and how far."""
    said = []
    for case in found.values():
        wrong = [row for row in case.diagnosis.rows if row.uphill]
        if wrong:
            listed = ", ".join(f"`{row.name}` {row.cosine:.2f}" for row in wrong)
            said.append(f"- {case.title}: {listed}")
    return "\n".join(said) or "- nowhere in the bank"


def _watch(watched: Sequence[Watched], drawn: dict[str, Figure]) -> str:
    if not watched:
        raise ValueError("the guide needs watched bridges; make them with: hardgrad doctor bank")
    drawn["doctor-watch"] = figures.watch(watched)
    rows = []
    for run in watched:
        seen = [look for look in run.sightings if look.cosine is not None]
        cosines = [look.cosine or 0.0 for look in seen]
        lengths = [look.norm_ratio or 0.0 for look in seen]
        rows.append(
            [f"`{run.layer}`", *(f"{x:.2f}" for x in (min(cosines), sorted(cosines)[len(cosines) // 2], cosines[-1])),
             f"{share(min(lengths))} to {share(max(lengths))}", str(sum(c < 0 for c in cosines))]
        )  # fmt: skip
    headings = ("bridge over", "lowest cosine", "median", "last", "length, of the truth's", "looks uphill")
    picture = "![Cosine and length of the lent gradient over training](pictures/doctor-watch.svg)"
    return f"{picture}\n\n{_table(headings, rows)}"


def _origin(found: Records) -> str:
    """Where the numbers were measured."""
    one = next(iter(found.values()))
    versions = one.environment.get("versions", {})
    draws = sorted({case.diagnosis.draws for case in found.values()})
    sources = sorted({case.source for case in found.values() if case.source != "drawn"})
    return (
        f"{len(found)} functions, {', '.join(map(str, draws))} gradients of each estimator; "
        f"torch {versions.get('torch')}, {one.environment.get('device')}, {one.environment.get('threads')} thread; "
        f"pictures: {', '.join(sources) or 'none'}. Times are {_clocks(found)} of that machine, mostly "
        "torch's own overhead: where your function is slow, count evaluations instead."
    )


def _clocks(found: Records) -> str:
    clocks = {case.diagnosis.clock for case in found.values()}
    return " and ".join({"processor": "processor times", "wall": "times by the clock"}[name] for name in sorted(clocks))
