"""The parts of ``hardgrad bench`` that print a line for each thing as it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App

from hardgrad_lab.commands.machine import at_least

Count = Annotated[int, at_least(1)]


def add_to(app: App) -> None:
    """Add the commands."""
    for command in (bridge, recurrent, search, tariff, feeding, boxes, orders, codebook, devices, callback):
        app.command(command)


def _with_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, {threads} thread(s)")


def bridge(*, rounds: Count = 200, threads: Count = 1, device: Literal["cpu", "cuda"] = "cpu") -> int:
    """A bridge's training step over the published way's, its evaluation, its import and its exported graph.

    Parameters
    ----------
    rounds
        Steps of each way, in turn.
    threads
        CPU threads.
    device
        Where the steps run.
    """
    from hardgrad_lab.bench.bridge import measure

    _with_threads(threads)
    measure(rounds, device)
    return 0


def recurrent(*, rounds: Count = 20, steps: Count = 64, threads: Count = 1) -> int:
    """Forward and backward of switching along a sequence over one fused GRU on the same batch.

    Parameters
    ----------
    rounds
        Calls of each way, in turn.
    steps
        Length of a sequence.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.recurrent import measure

    _with_threads(threads)
    measure(rounds, steps)
    return 0


def search(*, rounds: Count = 5, threads: Count = 1) -> int:
    """The search for ranges over one ridge fit of all rows, and whether it finds the planted ones.

    Parameters
    ----------
    rounds
        Searches of each kind.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.search import measure

    _with_threads(threads)
    measure(rounds)
    return 0


def tariff(*, rows: tuple[Count, ...] = (4000, 160_000), rounds: Count = 3, threads: Count = 1) -> int:
    """A fit of a planted tariff of four price bands: its error over the noise, and its time over a tree's.

    Parameters
    ----------
    rows
        How many to fit; may be given again for another number.
    rounds
        Fits of each model; the quickest counts.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.tariff import measure

    _with_threads(threads)
    measure(rows, rounds)
    return 0


def feeding(*, data: Path, rounds: Count = 15, only: str = "", threads: Count = 1) -> int:
    """Training steps of the experiments on their streams over the same steps on one batch that lies ready.

    Parameters
    ----------
    data
        Folder of the data sets.
    rounds
        Half-second rounds of each, in turn.
    only
        Cases with this in their name; photographs for the last.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.feeding import measure

    _with_threads(threads)
    measure(data, rounds, only)
    return 0


def boxes(*, seconds: float = 2.0, threads: Count = 1) -> int:
    """A program as a layer over the bare program, its two-point gradient over its calls, breaks over a step.

    Parameters
    ----------
    seconds
        How long to measure each line.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.boxes import measure

    _with_threads(threads)
    measure(seconds)
    return 0


def orders(*, seconds: float = 2.0, threads: Count = 1) -> int:
    """Relaxed sorts, ranks and top-k masks over torch.sort, beside other packages; their memory; subsets.

    Parameters
    ----------
    seconds
        How long to measure each line.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.orders import measure

    _with_threads(threads)
    measure(seconds)
    return 0


def codebook(*, seconds: float = 2.0, threads: Count = 1) -> int:
    """The nearest of 8,192 codes over one matrix product; steps of quantizers beside another package; memory.

    Parameters
    ----------
    seconds
        How long to measure each line.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.codebook import measure

    _with_threads(threads)
    measure(seconds)
    return 0


def devices(*, seconds: float = 10.0, threads: Count = 1) -> int:
    """Devices with a state, forward and backward, beside torchcomp where it is installed; how that grows.

    Parameters
    ----------
    seconds
        How long to measure each of the two tables.
    threads
        CPU threads.
    """
    from hardgrad_lab.bench.devices import measure

    _with_threads(threads)
    measure(seconds)
    return 0


def callback(*, rounds: Count = 300, rows: Count = 200_000, epochs: Count = 20) -> int:
    """A switch of five 4x4 branches against an 8x8 network in C, as an audio callback of 512 samples runs them.

    Parameters
    ----------
    rounds
        Of 64 blocks each, in turn.
    rows
        To train on.
    epochs
        Passes over them.
    """
    from hardgrad_lab.bench.callback import measure

    _with_threads(1)
    measure(rounds, rows, epochs)
    return 0
