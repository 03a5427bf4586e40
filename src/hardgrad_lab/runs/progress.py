"""Progress before one's eyes: a live bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hardgrad_lab.runs.live import CutColumn, is_live
from hardgrad_lab.runs.loop import Plan, Training, Watcher

REFRESH_S = 0.5  # reading the averages waits for the device, so not at every step
LINES = 25  # of a run, at most
MEASURES = 4  # on a line, at most
_FORMS = {"accuracy": "accuracy {:.2%}", "esr": "ESR {:.3g}"}
_NOT_MEASURED = ("samples", "seconds", "loss", "penalty")


class LinePerPoint:
    """Print a line after evaluations, some 25 in a run.

    Args:
        console: where to print.
        plan: of the run.
    """

    def __init__(self, console: Console, plan: Plan) -> None:
        self.console, self.plan = console, plan
        self.every = -(-plan.steps // (plan.evaluate_every * LINES))

    def step(self, training: Training) -> None:
        """Say nothing."""
        del training

    def point(self, training: Training) -> None:
        """Print how far the run is and what the last evaluation found."""
        if training.steps // self.plan.evaluate_every % self.every and training.steps < self.plan.steps:
            return
        share = training.steps / self.plan.steps
        left = training.seconds / share - training.seconds
        rate = training.samples / max(training.seconds, 1e-9)
        self.console.print(
            f"{share:6.1%}  samples {training.samples:,}  {_figures(training.curve[-1])}  {rate:,.0f} samples/s  "
            f"{left:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )


class Bar:
    """Keep a live bar up to date.

    Args:
        progress: the display.
        task: the bar in it.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task
        self.shown = 0.0
        self.began = time.monotonic()
        self.before: int | None = None

    def step(self, training: Training) -> None:
        """Refresh the bar, at most twice a second."""
        if self.before is None:
            self.before = training.samples
        now = time.monotonic()
        if now - self.shown < REFRESH_S:
            return
        self.shown = now
        # The rate of this sitting: a resumed run has samples that this sitting did not train.
        rate = (training.samples - self.before) / max(now - self.began, 1e-9)
        values = dict(training.curve[-1]) if training.curve else {}
        if training.summed:
            values |= training.averages()
        figures = _figures(values, separator=" ", measures=1)
        self.progress.update(self.task, completed=training.steps, figures=f"{figures} {rate:,.0f} samples/s")

    def point(self, training: Training) -> None:
        """Refresh the bar now."""
        self.shown = 0.0
        self.step(training)


class Several:
    """Tell several watchers.

    Args:
        watchers: in the order in which they are told.
    """

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = watchers

    def step(self, training: Training) -> None:
        """Tell all of them of a step."""
        for watcher in self.watchers:
            watcher.step(training)

    def point(self, training: Training) -> None:
        """Tell all of them of an evaluation."""
        for watcher in self.watchers:
            watcher.point(training)


@contextmanager
def watch(title: str, plan: Plan, begun: int, console: Console, others: Sequence[Watcher] = ()) -> Iterator[Watcher]:
    """Show the progress of a run.

    Args:
        title: what to call it.
        plan: of the run.
        begun: steps taken in earlier sittings.
        console: where to show it.
        others: watchers to tell besides.

    Yields:
        What the loop should tell.
    """
    console.print(title, highlight=False, soft_wrap=True)
    if not is_live(console):
        yield Several([LinePerPoint(console, plan), *others])
        return
    # All of it fits 80 columns.
    columns = (BarColumn(bar_width=8), TextColumn("{task.percentage:>3.0f}%"), CutColumn("figures"))
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console) as progress:
        bar = Bar(progress, progress.add_task("", total=plan.steps, completed=begun, figures=""))
        yield Several([bar, *others])


def _figures(values: dict[str, float], separator: str = "  ", measures: int = MEASURES) -> str:
    """Return the loss, the penalty and the first few measures of an evaluation, in words."""
    parts = [f"{name} {values[name]:#.4g}" for name in ("loss", "penalty") if name in values]
    measured = [name for name in values if "@" not in name and name not in _NOT_MEASURED][:measures]
    parts += [_FORMS.get(name, name + " {:.4g}").format(values[name]) for name in measured]
    return separator.join(parts)
