"""One run on a circuit: its rows from recordings, curves and sounds kept of it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from torch import nn

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.keep import keep_curves, keep_sounds
from hardgrad_lab.experiments.switches.rows import Rows
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.train import begin
from hardgrad_lab.experiments.switches.waveshaper import PLAYED
from hardgrad_lab.experiments.switches.waveshaper.rows import rows_of
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.record import Run


def reproduce(run: Run, config: Setup, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one contestant, or find its record; see ``runs.execute.execute`` for what it raises.

    Args:
        run: its identity.
        config: what to train.
        seed: decides weights and rows.
        root: where the recordings lie.
        how: device, folder of the records, whether to resume.
        console: where progress is shown.
    """
    return execute(run, lambda device: begin(config, seed, rows_of(config, seed, root), device, keep), how, console)


def keep(setup: Setup, model: nn.Module, rows: Rows, results: Path, name: str) -> None:
    """Write the transfer curve of a run, and of contestants that are played on the page, the sounds."""
    keep_curves(setup, model, rows, results, name)
    if setup.contestant in PLAYED:
        keep_sounds(setup, model, rows, results)
