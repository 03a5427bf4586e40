"""One run: its rows, and curves kept of it."""

from __future__ import annotations

from rich.console import Console

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.piecewise.rows import rows_of
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.train import begin
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.record import Run


def reproduce(run: Run, config: Setup, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one contestant, or find its record; see ``runs.execute.execute`` for what it raises.

    Args:
        run: its identity.
        config: what to train.
        seed: decides weights and rows.
        root: where data sets lie.
        how: device, folder of the records, whether to resume.
        console: where progress is shown.
    """
    return execute(run, lambda device: begin(config, seed, rows_of(config, seed, root), device), how, console)
