"""The doctor in the terminal: whose turn it is, the table in 80 columns, warnings, advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hardgrad_lab.commands.table import print_table
from hardgrad_lab.doctor.case import Case
from hardgrad_lab.doctor.examine import Asked, examine
from hardgrad_lab.doctor.load import said as said_of
from hardgrad_lab.doctor.page.table import HEADINGS, NUMERIC, Line, Tone, about_truth, lines
from hardgrad_lab.doctor.record import Examination, FunctionError
from hardgrad_lab.doctor.record import Progress as Now
from hardgrad_lab.runs.live import CutColumn, is_live

STYLES: dict[Tone, str] = {
    "uphill": "bold red",
    "flat": "yellow",
    "refused": "dim",
    "unbiased": "green",
    "biased": "",
    "unknown": "dim",
}


LONG_SECONDS = 60.0  # from which one who waits wants to know
SHORTER = 6  # times, of the limit that is offered to those who do not want to wait


class Turns:
    """Show how far an examination is: a bar on a terminal, a line for each turn elsewhere.

    Args:
        console: where to show it.
        title: of what is examined.
        limit: seconds that it may take, or None.
    """

    def __init__(self, console: Console, title: str, limit: float | None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            TimeElapsedColumn(),
            CutColumn("left"),
        )
        self.bar = Progress(*columns, console=console, transient=True, disable=not is_live(console))
        self.console, self.title, self.limit = console, title, limit
        self.task = self.bar.add_task("", total=None, left="")
        self.name = ""

    def __call__(self, now: Now) -> None:
        """Say whose turn it is, and how long it will take."""
        left = f"{now.left} left" if now.left else ""
        self.bar.update(self.task, completed=now.done, total=now.total, description=f"{now.name[:34]:<34}", left=left)
        if now.name == self.name or now.done == now.total:
            return
        if not self.name:
            self._warn(now)
        self.name = now.name
        if not is_live(self.console):
            late = f", {left}" if (now.seconds_left or 0.0) > LONG_SECONDS else ""
            self._say(f"{self.title}: {now.name}{late}")

    def _warn(self, now: Now) -> None:
        """Say before the start that it will take long, and what makes it shorter."""
        if self.limit is None and now.seconds_left is not None and now.seconds_left > LONG_SECONDS:
            short = max(round(now.seconds_left / SHORTER, -1), 10.0)
            self._say(
                f"this takes {now.left}; --seconds {short:.0f} ends it in a {SHORTER}th of that, with fewer draws and "
                "wider standard errors"
            )

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Turns:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()


def show_doctor(found: Examination, console: Console) -> None:
    """Print what was found."""
    diagnosis = found.diagnosis
    table = lines(diagnosis)
    console.print(f"{found.title} at {diagnosis.shape}", style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{diagnosis.about}; {about_truth(diagnosis)}", style="dim", markup=False, highlight=False)
    print_table(_table(table), console)
    for line in table:
        if line.refusal:
            console.print(f"{line.name} refused: {line.refusal}", style="dim", markup=False, highlight=False)
    for warning in diagnosis.warnings:
        loud = "uphill: " in warning
        word = "WARNING" if loud else "note"
        style = "bold red" if loud else "yellow"
        console.print(f"{word}: {warning}", style=style, markup=False, highlight=False)
    console.print(f"advice: {diagnosis.advice}", style="bold", markup=False, highlight=False)


def _table(table: list[Line]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(HEADINGS):
        wraps = number == 0
        shown.add_column(heading, justify="right" if number in NUMERIC else "left", no_wrap=not wraps)
    for line in table:
        # The longest names go on two lines, broken where their parts meet.
        shown.add_row(line.cells[0].replace("montecarlo.", "montecarlo.\n"), *line.cells[1:], style=STYLES[line.tone])
    return shown


def examined(case: Case, given: dict[str, object], asked: Asked, console: Console) -> Examination:
    """Return the examination of a function, shown while it is under way."""
    with Turns(console, case.title, asked.seconds) as turns, in_words(case):
        return examine(case, given, asked, turns)


@contextmanager
def in_words(case: Case) -> Iterator[None]:
    """Say what the doctor refuses, and what the user's function raises, as of the function that was named."""
    try:
        yield
    except FunctionError as error:
        what = said_of(error).partition(": ")[2]
        if what.startswith("function "):
            what = case.title + what.removeprefix("function")
        raise ValueError(what) from error
    except ValueError as error:
        raise ValueError(str(error).removeprefix("diagnose: ").removeprefix("candidates: ")) from error
    except Exception as error:  # the user's function, at a batch of another size say
        raise ValueError(f"{case.title} raises while it is examined: {said_of(error)}") from error
