"""Progress before one's eyes: a live bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hardgrad_lab.runs.loop import Plan, Training, Watcher

REFRESH_S = 0.5  # reading the averages waits for the device, so not at every step


class LinePerPoint:
    """Print one line after every evaluation.

    Args:
        console: where to print.
        plan: of the run.
    """

    def __init__(self, console: Console, plan: Plan) -> None:
        self.console, self.plan = console, plan

    def step(self, training: Training) -> None:
        """Say nothing."""
        del training

    def point(self, training: Training) -> None:
        """Print how far the run is and what the last evaluation found."""
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
        figures = _figures(values, separator=" ")
        self.progress.update(self.task, completed=training.steps, figures=f"{figures} {rate:,.0f} samples/s")

    def point(self, training: Training) -> None:
        """Refresh the bar now."""
        self.shown = 0.0
        self.step(training)


@contextmanager
def watch(title: str, plan: Plan, begun: int, console: Console) -> Iterator[Watcher]:
    """Show the progress of a run.

    Args:
        title: what to call it.
        plan: of the run.
        begun: steps taken in earlier sittings.
        console: where to show it.

    Yields:
        What the loop should tell.
    """
    console.print(title, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield LinePerPoint(console, plan)
        return
    # All of it fits 80 columns.
    columns = (BarColumn(bar_width=8), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console) as progress:
        yield Bar(progress, progress.add_task("", total=plan.steps, completed=begun, figures=""))


def _figures(values: dict[str, float], separator: str = "  ") -> str:
    parts = [f"{name} {values[name]:#.4g}" for name in ("loss", "penalty") if name in values]
    if "accuracy" in values:
        parts.append(f"accuracy {values['accuracy']:.2%}")
    if "esr" in values:
        parts.append(f"ESR {values['esr']:.3g}")
    return separator.join(parts)
