"""A fit before one's eyes: a live bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hardgrad_lab.runs.live import CutColumn, is_live

REFRESH_S = 0.5  # reading the average waits for the device, so not at every step
LINES = 10  # that a training leaves in a pipe


class Shown(Protocol):
    """A training as it is shown, of a switch or of a device."""

    @property
    def steps(self) -> int: ...
    @property
    def all_steps(self) -> int: ...
    @property
    def steps_an_epoch(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def curve(self) -> list[dict[str, Any]]: ...
    @property
    def done(self) -> bool: ...
    def average(self) -> float: ...


class FitProgress:
    """Show what is trained, how far it is, the loss, the held-out loss and the time left.

    Args:
        console: where to show it.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = is_live(console)
        # All of it fits 80 columns.
        columns = (
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f}%"),
            CutColumn("figures"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        self._progress = Progress(*columns, console=console, disable=not self._live)
        self._bars: dict[str, TaskID] = {}
        self._shown = 0.0
        self._lines = (0, "")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, name: str, training: Shown) -> None:
        """See a training after every step."""
        if self._live:
            self._bar(name, training)
        elif training.steps % training.steps_an_epoch == 0:
            self._line(name, training)

    def _bar(self, name: str, training: Shown) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(
                name, total=training.all_steps, completed=training.steps, figures=""
            )
        now = time.monotonic()
        if training.done:  # patience may have come to its end early
            self._progress.update(
                self._bars[name], total=training.steps, completed=training.steps, figures=_figures(training)
            )
        elif now - self._shown >= REFRESH_S:
            self._shown = now
            self._progress.update(self._bars[name], completed=training.steps, figures=_figures(training))

    def _line(self, name: str, training: Shown) -> None:
        tenth = LINES * training.steps // training.all_steps
        if (tenth, name) == self._lines and not training.done:
            return
        self._lines = (tenth, name)
        left = training.seconds * (training.all_steps / training.steps - 1) if not training.done else 0.0
        self.console.print(
            f"{name:<15} epoch {training.epoch:>4}/{training.epochs}  {_figures(training)}  {left:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )


@contextmanager
def watched(name: str, wanted: bool) -> Iterator[Callable[[Shown], None]]:
    """Show a training on standard output, or nothing.

    Args:
        name: of what is trained.
        wanted: whether to show it.

    Yields:
        What to call with the training after every step.
    """
    if not wanted:
        yield lambda training: None
        return
    # As text in a notebook, too, where rich would make a page of every line.
    with FitProgress(Console(file=sys.stdout, force_jupyter=False, emoji=False)) as progress:
        yield lambda training: progress(name, training)


def _figures(training: Shown) -> str:
    point = training.curve[-1] if training.curve else {}
    inside = training.steps % training.steps_an_epoch
    loss = training.average() if inside else point.get("loss")
    parts = [] if loss is None else [f"loss {loss:#.4g}"]
    if "held_out" in point:
        parts.append(f"held out {point['held_out']:#.4g}")
    return "  ".join(parts)
