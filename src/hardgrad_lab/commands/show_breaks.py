"""In the terminal: where a gradient ends, and what a program does as a layer."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

ENDS = {"cut": "place% where the gradient ends", "flat": "place% where the gradient is flat", "dead": "dead layer%"}
ENDS |= {"suspicious": "suspicious place%"}
GETS = {"none": "no gradient", "zero": "exactly zero", "not finite": "not a number", "unused": "never used"}
STYLES = dict.fromkeys(("flat", "suspicious", "delay", "stairs", "chunks"), "bold yellow") | {"mend": "bold green"}
STYLES |= dict.fromkeys(("cut", "dead", "nan", "raises", "writes", "unapplied", "late", "state", "random"), "bold red")
MOST = 8  # names, harmless places, or numbers of a row that are shown
LAB = Path(__file__).parents[1]


def show_breaks(found: Any, parameters: int, console: Console, *, every: bool) -> None:
    """Print what ``hardgrad.doctor.breaks`` found in a model of so many parameters; all that is harmless, too."""
    kinds, gets = Counter(each.kind for each in found), Counter(found.parameters.values())
    places = [_count(kinds[kind], words) for kind, words in ENDS.items() if kinds[kind]]
    lost, total = gets.total() - gets["unused"], _count(parameters, "parameter%")
    learn = f"{lost} of {total} learn nothing" if lost else f"{total} in all, and each learns"
    learn = learn if parameters else f"{_count(lost, 'input%')} without a gradient"
    console.print(Text((", ".join(places) or "No place where the gradient ends") + f"; {learn}", style="bold"))
    console.print(Text(f"differentiated: {found.about}", style="dim"))
    for each in found:
        place = f"  {each.call}{f' in {each.module}' if each.module else ''}"
        console.print(Text.assemble("\n", (each.kind, STYLES[each.kind]), f"  {_place(each)}", place), soft_wrap=True)
        if source := linecache.getline(each.file, each.line).strip() if _place(each) else "":
            console.print(Text(f"    {source}", style="cyan"), soft_wrap=True)
        rows = [("why", each.why), ("flow", each.flows), ("lost", _names(each.lost, every)), ("mend", each.cure)]
        console.print(Padding(_grid(rows), (0, 0, 0, 4)))
    names = {words: [name for name, got in found.parameters.items() if got == kind] for kind, words in GETS.items()}
    if gets:
        console.print(Text(), _grid((words, _names(those, every)) for words, those in names.items()))
    harmless = [each for each in found.harmless if _place(each)]
    for each in harmless[: None if every else MOST]:
        console.print(Text(f"harmless: {_place(each)}  {each.call}: {each.why}", style="dim"), soft_wrap=True)
    if not every and len(harmless) > MOST:
        console.print(Text(f"and {len(harmless) - MOST} more harmless places, with --all", style="dim"))


def show_box(found: Any, console: Console) -> None:
    """Print what ``hardgrad.doctor.examine`` found: its own table, with what spoils a gradient in red."""
    text, _, code = str(found).rpartition("\n\n")
    for line in text.splitlines():
        word = line.partition(" ")[0]
        console.print(Text.assemble((word, STYLES.get(word, "bold")), line[len(word) :]), soft_wrap=True)
    console.print(Text(f"\n{code}", style="bold green"), soft_wrap=True)


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    """Words on the left, and what there is to say of each; nothing where there is nothing."""
    grid = Table.grid("", Column(overflow="fold"), padding=(0, 2))  # code is never cut short
    for word, text in rows:
        if text:
            grid.add_row(Text(word, style=STYLES.get(word, "bold")), Text(text))
    return grid


def _count(number: int, words: str) -> str:
    return f"{number} {words.replace('%', '' if number == 1 else 's')}"


def _names(names: Sequence[str], every: bool) -> str:
    rest = f" and {len(names) - MOST} more" if len(names) > MOST and not every else ""
    return ", ".join(names if every else names[:MOST]) + rest


def _place(each: Any) -> str:
    """The file as short as it goes, and the line; nothing for a function that the lab itself calls, such as torch's."""
    file, here = Path(each.file), Path.cwd()
    near = file.relative_to(here) if file.is_relative_to(here) else file
    return "" if file.is_relative_to(LAB) else f"{near}:{each.line}"
