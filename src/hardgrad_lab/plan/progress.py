"""A plan before one's eyes: a line for every job that ends, and on a terminal a bar with what runs now."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hardgrad_lab.plan.jobs import folder_of
from hardgrad_lab.plan.work import Result
from hardgrad_lab.runs.record import Record, RecordError, Run


class Times:
    """How long jobs take, from those that are done.

    Args:
        done: runs that were recorded before.
        out: the folder of all records.
    """

    def __init__(self, done: Sequence[Run], out: Path) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        for run in done:
            try:
                self.add(run, Record.load(run.record_path(folder_of(run, out))).seconds)
            except RecordError:
                continue  # whoever needs that record will say so

    def add(self, run: Run, seconds: float) -> None:
        """Count a job that took so long."""
        self.seconds[run.experiment].append(seconds)

    def of(self, runs: Sequence[Run]) -> float | None:
        """Return what so many jobs may take one after another, in seconds; None where no job is done yet."""
        every = [seconds for known in self.seconds.values() for seconds in known]
        if not every:
            return None
        return sum(statistics.fmean(self.seconds.get(run.experiment) or every) for run in runs)


class Lines:
    """Follow a plan.

    Args:
        runs: that are to be done.
        times: of those that were done before.
        console: where to print.
    """

    def __init__(self, runs: Sequence[Run], times: Times, console: Console) -> None:
        self.left = {run.name: run for run in runs}
        self.running: dict[str, float] = {}
        self.failed: dict[str, tuple[Run, str]] = {}
        self.total, self.times, self.at_a_time, self.console = len(runs), times, 1, console
        columns = (BarColumn(bar_width=12), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.bar = self.progress.add_task("", total=self.total, now="")

    def started(self, run: Run) -> None:
        """See a job begin."""
        self.running[run.name] = time.monotonic()
        self.at_a_time = max(self.at_a_time, len(self.running))
        self.tick()

    def ended(self, run: Run, result: Result, again: bool) -> None:
        """Say what came of it."""
        self.running.pop(run.name, None)
        if result.status == "done":
            self.times.add(run, result.seconds)
            self.left.pop(run.name)
            self._say("done", run, f"{result.seconds:.0f} s, {self._to_go()}", None)
        elif again:
            self._say("again", run, f"failed, and waits for another try: {_first_line(result.error)}", "yellow")
        elif result.status == "failed":
            self.left.pop(run.name)
            self.failed[run.name] = run, result.error
            self._say("failed", run, _first_line(result.error), "red")
        else:
            self._say("stopped", run, "", "yellow")
        self.tick()

    def tick(self) -> None:
        """Show what runs now, and for how long still."""
        now = f"{len(self.failed)} failed, {len(self.running)} running, {self._to_go()}"
        self.progress.update(self.bar, completed=self.total - len(self.left), now=now)

    def _to_go(self) -> str:
        seconds = self.times.of(list(self.left.values()))
        if seconds is None:
            return "time left unknown"
        for name, since in self.running.items():
            seconds -= min(time.monotonic() - since, self.times.of([self.left[name]]) or 0.0)
        return f"{timedelta(seconds=round(seconds / max(min(self.at_a_time, len(self.left)), 1)))} left"

    def _say(self, what: str, run: Run, more: str, style: str | None) -> None:
        count = f"{self.total - len(self.left)}/{self.total}"
        line = f"{count:>9}  {what:<7}  {run.name}  {more}".rstrip()
        self.console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
