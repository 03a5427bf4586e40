"""``hardgrad bench``: what things cost on this machine, as ratios taken in one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.table import Table

from hardgrad_lab.commands import bench_lines
from hardgrad_lab.commands.machine import at_least
from hardgrad_lab.commands.table import print_table
from hardgrad_lab.runs.live import waiting

app = App(name="bench", help="Measure on this machine, beside what else could be used.")
bench_lines.add_to(app)
Flag = Parameter(negative="")


@app.command
def switch(
    *,
    rows: str = "1,64,1024,16384",
    ranges: str = "2,10,64,512",
    widths: str = "80,100,100,1",
    skewed: Annotated[bool, Flag] = False,
    adam: Annotated[bool, Flag] = False,
    seconds: float = 3.0,
    threads: Annotated[int, at_least(1)] = 1,
    peers: bool = True,
    device: Literal["cpu", "cuda"] = "cpu",
    other: Path | None = None,
    out: Path | None = None,
) -> int:
    """Forward and backward of a switch over one plain network on the same batch, and of the other ways to do it.

    Parameters
    ----------
    rows
        Batch sizes, with commas.
    ranges
        Numbers of ranges, with commas.
    widths
        A branch's layers, inputs first.
    skewed
        Draw the keys from a Gaussian over ranges of equal width, not evenly.
    adam
        Count a fused Adam step in.
    seconds
        How long to measure each cell.
    threads
        CPU threads.
    peers
        Run the other ways too: torch.where over all branches, vmap over stacked parameters, torch.cond, gathered
        weights, padded products, sparse rows.
    device
        Where they run; on cuda the time is that of the wall, until all is done.
    other
        The src folder of another checkout of hardgrad, whose bank is run too.
    out
        A file to write the numbers to, as JSON.
    """
    import torch

    from hardgrad_lab.bench.switch import PEERS, Grid, measure
    from hardgrad_lab.runs.atomic import write_text

    torch.set_num_threads(threads)
    grid = Grid(
        rows=_numbers("rows", rows),
        ranges=_numbers("ranges", ranges),
        widths=_numbers("widths", widths),
        skewed=skewed,
        adam=adam,
        seconds=seconds,
        peers=peers,
        device=device,
        other=other,
    )
    console = Console(emoji=False)
    ways = ["switch, bank", "switch", *(["other bank"] if other else ()), *(PEERS if peers else ())]
    table = _ratios(device, ways)
    cells = []
    with waiting(console, "measuring") as say:
        for cell in measure(grid):
            cells.append({"ranges": cell.ranges, "rows": cell.rows, "plain_us": cell.plain, "ratios": cell.ratios})
            ratios = [f"{cell.ratios[way]:.1f}" if way in cell.ratios else "" for way in ways]
            table.add_row(str(cell.ranges), str(cell.rows), f"{cell.plain:.0f}", *ratios)
            say(f"{cell.ranges} ranges, {cell.rows} rows: {', '.join(ratios)}")
    print_table(table, console)
    if out is not None:
        write_text(
            out,
            json.dumps({"torch": torch.__version__, "threads": threads, "device": device, "cells": cells}, indent=1)
            + "\n",
        )
    return 0


def _ratios(device: str, ways: list[str]) -> Table:
    table = Table(
        title=f"{'processor time' if device == 'cpu' else 'time'} over a plain network's",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for heading in ("ranges", "rows", "plain us", *ways):
        table.add_column(heading, justify="right")
    return table


@app.command
def estimators(
    *,
    batches: str = "24,256",
    kind: Annotated[tuple[Literal["bernoulli", "one-hot"], ...], Parameter(negative="")] = (),
    objective: Annotated[tuple[Literal["decoder", "cheap"], ...], Parameter(negative="")] = (),
    seconds: float = 5.0,
    threads: Annotated[int, at_least(1)] = 1,
    peers: bool = True,
    device: Literal["cpu", "cuda"] = "cpu",
    out: Path | None = None,
) -> int:
    """A gradient with each Monte Carlo estimator over one evaluation of the objective with its backward.

    Parameters
    ----------
    batches
        Batch sizes, with commas.
    kind
        Only these distributions: 200 Bernoulli units, or 20 one-hot units of 10 ways.
    objective
        Only these objectives: a decoder 200 -> 200 -> 784, or a weighted sum squared.
    seconds
        How long to measure each cell.
    threads
        CPU threads.
    peers
        Run torch's own relaxations too, and the reinmax package where it is installed.
    device
        Where they run; on cuda the time is that of the wall, until all is done.
    out
        A file to write the numbers to, as JSON.
    """
    import torch

    from hardgrad_lab.bench.estimators import Grid, measure
    from hardgrad_lab.bench.needs import KINDS, OBJECTIVES
    from hardgrad_lab.runs.atomic import write_text

    torch.set_num_threads(threads)
    grid = Grid(
        batches=_numbers("batches", batches),
        kinds=kind or KINDS,
        objectives=objective or OBJECTIVES,
        seconds=seconds,
        peers=peers,
        device=device,
    )
    console, cells = Console(emoji=False), []
    for cell in measure(grid):
        cells.append(asdict(cell))
        title = f"{cell.kind}, {cell.objective}, batch {cell.batch}: one evaluation takes {cell.one:.0f} us"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
        for heading in ("estimator", "evaluations", "of one evaluation", "of what it needs"):
            table.add_column(heading, justify="left" if heading == "estimator" else "right")
        for name, cost in cell.costs.items():
            needs = "" if cost.over_needs is None else f"{cost.over_needs:.2f}"
            table.add_row(name, str(cost.evaluations), f"{cost.over_one:.2f}", needs)
        print_table(table, console)
    if out is not None:
        write_text(
            out,
            json.dumps({"torch": torch.__version__, "threads": threads, "device": device, "cells": cells}, indent=1)
            + "\n",
        )
    return 0


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(each) for each in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise ValueError(f"--{name} must be whole numbers of at least 1 with commas between them, got {text!r}")
    return found
