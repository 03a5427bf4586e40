"""A plan before one's eyes: a line for every job that ends, and on a terminal a bar with what runs now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress

from hardgrad_lab.plan.glance import Standing
from hardgrad_lab.plan.groups import Estimates
from hardgrad_lab.plan.work import Result
from hardgrad_lab.runs.live import CutColumn, is_live
from hardgrad_lab.runs.record import Run


class Lines:
    """Follow a plan.

    Args:
        runs: that are to be done.
        estimates: of what they should take.
        console: where to print.
        standings: by name, where those stand that were begun before.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        estimates: Estimates,
        console: Console,
        standings: Mapping[str, Standing] | None = None,
    ) -> None:
        self.left = {run.name: run for run in runs}
        self.running: dict[str, float] = {}
        self.failed: dict[str, tuple[Run, str]] = {}
        self.unsaved: dict[str, str] = {}
        self.total, self.estimates, self.at_a_time, self.console = len(runs), estimates, 1, console
        self.standings = standings or {}
        columns = (BarColumn(bar_width=12), MofNCompleteColumn(), CutColumn("now"))
        self.progress = Progress(*columns, console=console, disable=not is_live(console))
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
            self.estimates.add(run, result.seconds)
            self.left.pop(run.name)
            self._say("done", run, f"{result.seconds:.0f} s, {self._to_go()}", None)
        elif again:
            self._say("again", run, f"failed, and waits for another try: {_first_line(result.error)}", "yellow")
        elif result.status == "failed":
            self.left.pop(run.name)
            self.failed[run.name] = run, result.error
            self._say("failed", run, _first_line(result.error), "red")
        else:
            self.unsaved |= {run.name: result.error} if result.error else {}
            self._say("stopped", run, _first_line(result.error), "yellow")
        self.tick()

    def tick(self) -> None:
        """Show what runs now, and for how long still."""
        now = f"{len(self.failed)} failed, {len(self.running)} running, {self._to_go()}"
        self.progress.update(self.bar, completed=self.total - len(self.left), now=now)

    def _to_go(self) -> str:
        each = [self._seconds(run) for run in self.left.values()]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return "time left unknown"
        return f"{timedelta(seconds=round(sum(known) / max(min(self.at_a_time, len(self.left)), 1)))} left"

    def _seconds(self, run: Run) -> float | None:
        """Return what is left of a run."""
        seconds, standing = self.estimates.of(run), self.standings.get(run.name)
        if standing is not None:
            seconds = standing.left(seconds)
        if seconds is None or run.name not in self.running:
            return seconds
        return max(seconds - (time.monotonic() - self.running[run.name]), 0.0)

    def _say(self, what: str, run: Run, more: str, style: str | None) -> None:
        count = f"{self.total - len(self.left)}/{self.total}"
        line = f"{count:>9}  {what:<7}  {run.name}  {more}".rstrip()
        self.console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
