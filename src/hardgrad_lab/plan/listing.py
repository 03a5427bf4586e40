"""What of a plan is done, under way and left, in runs and in hours; trains nothing, and imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from hardgrad_lab.plan.glance import Standing, glance
from hardgrad_lab.plan.groups import Estimates, Group
from hardgrad_lab.plan.jobs import State, folder_of, record_of
from hardgrad_lab.runs.record import Run

STYLES: dict[State, str | None] = {"done": "green", "begun": "yellow", "missing": None}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run as it stands.

    Args:
        run: which.
        state: done, begun or missing.
        seconds: that it took, where it is done; else what is left of it, or None where nothing is known.
        standing: of one that is begun, where its checkpoint can be read.
    """

    run: Run
    state: State
    seconds: float | None
    standing: Standing | None


def standings(runs: Sequence[Run], out: Path) -> dict[str, Standing]:
    """Return, by name, where the runs stand that have a checkpoint.

    Args:
        runs: to look at.
        out: folder of all records.
    """
    found = {run.name: glance(run.checkpoint_path(folder_of(run, out))) for run in runs}
    return {name: standing for name, standing in found.items() if standing is not None}


def estimates_of(groups: Sequence[Group], out: Path) -> Estimates:
    """Return what runs should take, corrected by those that are recorded."""
    estimates = Estimates(groups)
    for group in groups:
        for run in group.runs:
            if (record := record_of(run, out)) is not None:
                estimates.add(run, record.seconds)
    return estimates


def rows_of(group: Group, estimates: Estimates, out: Path) -> list[Row]:
    """Return the runs of a group as they stand.

    Args:
        group: of a plan.
        estimates: of its runs.
        out: folder of all records.
    """
    return [_row(run, estimates, out) for run in group.runs]


def _row(run: Run, estimates: Estimates, out: Path) -> Row:
    if run.name in estimates.done:
        return Row(run=run, state="done", seconds=estimates.done[run.name][1], standing=None)
    path, whole = run.checkpoint_path(folder_of(run, out)), estimates.of(run)
    if not path.exists():
        return Row(run=run, state="missing", seconds=whole, standing=None)
    standing = glance(path)
    return Row(run=run, state="begun", seconds=standing.left(whole) if standing else whole, standing=standing)


def show(groups: Sequence[Group], out: Path, jobs: int, console: Console) -> None:
    """Print every run, the groups, and what is left.

    Args:
        groups: of a plan, in their order.
        out: folder of all records.
        jobs: runs at a time, for the hours that are left.
        console: where to print.
    """
    estimates = estimates_of(groups, out)
    rows = [rows_of(group, estimates, out) for group in groups]
    for row in (row for group in rows for row in group):
        console.print(_line(row, out), style=STYLES[row.state], highlight=False, markup=False, soft_wrap=True)
    console.print(_table(groups, rows))
    console.print(_sum([row for group in rows for row in group], jobs), highlight=False, soft_wrap=True)


def left(groups: Sequence[Group], out: Path) -> list[str]:
    """Return in words what is left of a plan: a sum, then each group that is not done.

    Args:
        groups: of the plan, in their order.
        out: folder of all records.
    """
    estimates = estimates_of(groups, out)
    rows = [[row for row in rows_of(group, estimates, out) if row.state != "done"] for group in groups]
    named = [(group.title, its) for group, its in zip(groups, rows, strict=True) if its]
    said = [f"{title}: {len(its)} run{'s' * (len(its) > 1)}, {_hours(_total(its))} h" for title, its in named]
    return [f"Still in the queue: {_sum([row for its in rows for row in its], 2)}.", *said] if said else []


def _line(row: Row, out: Path) -> str:
    path = folder_of(row.run, out) / row.run.name
    if row.standing is None:
        return f"{row.state:<8} {path}"
    share = "" if row.standing.share is None else f"{row.standing.share:.0%} of its steps, "
    return f"{row.state:<8} {path}  {share}{_hours(row.seconds)} h left"


def _table(groups: Sequence[Group], rows: Sequence[Sequence[Row]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for heading in ("priority", "runs", "done", "begun", "missing", "core-hours done", "left"):
        table.add_column(heading, justify="left" if heading == "runs" else "right", no_wrap=heading != "runs")
    for group, its in zip(groups, rows, strict=True):
        table.add_row(str(group.priority), group.title, *_figures(its))
    table.add_section()
    table.add_row("", "all", *_figures([row for its in rows for row in its]))
    return table


def _figures(rows: Sequence[Row]) -> list[str]:
    counts = [str(sum(row.state == state for row in rows)) for state in STYLES]
    done = _total([row for row in rows if row.state == "done"])
    return [*counts, _hours(done), _hours(_total([row for row in rows if row.state != "done"]))]


def _total(rows: Sequence[Row]) -> float | None:
    known = [row.seconds for row in rows if row.seconds is not None]
    return sum(known) if len(known) == len(rows) else None


def _hours(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds / 3600:.2f}"


def _sum(rows: Sequence[Row], jobs: int) -> str:
    left = [row for row in rows if row.state != "done"]
    if not left:
        return f"all {len(rows)} runs are done"
    total = _total(left)
    if total is None:
        return f"{len(left)} runs left; how long they take is unknown until the first is done"
    return f"{len(left)} runs left, {_hours(total)} core-hours: {_hours(total / jobs)} hours at {jobs} at a time"
