"""The doctor in the terminal: whose turn it is, the table in 80 columns, warnings, advice."""

from __future__ import annotations

from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hardgrad_lab.doctor.record import Examination
from hardgrad_lab.report.doctor_table import HEADINGS, NUMERIC, Line, Tone, about_truth, lines

STYLES: dict[Tone, str] = {
    "uphill": "bold red",
    "flat": "yellow",
    "refused": "dim",
    "unbiased": "green",
    "biased": "",
    "unknown": "dim",
}


class Turns:
    """Show how far an examination is: a bar on a terminal, a line for each turn elsewhere.

    Args:
        console: where to show it.
        title: of what is examined.
        names: of the candidates; before them comes the truth, after them the cost.
    """

    def __init__(self, console: Console, title: str, names: list[str]) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.console, self.title = console, title
        self.task = self.bar.add_task("", total=len(names) + 2)
        self.turns = 0

    def __call__(self, name: str) -> None:
        """Say whose turn it is."""
        self.bar.update(self.task, completed=self.turns, description=f"{name[:34]:<34}")
        self.turns += 1
        if not self.console.is_terminal:
            self.console.print(f"{self.title}: {name}", markup=False, highlight=False, soft_wrap=True)

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
    console.print(_table(table))
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
