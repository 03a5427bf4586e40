"""The plan itself: the runs of a budget in their order, which of them are done, and what is still to be tried."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from hardgrad_lab.plan.kinds import KINDS
from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import chosen
from hardgrad_lab.runs.record import Record, RecordError, Run

State = Literal["done", "begun", "missing"]
TRIES = 2  # of a job that fails, or that takes its process down
DEATHS = 10  # of machines under a job, none of which need be its fault


def jobs_of(budget: Budget, only: Iterable[str] = (), seeds: int = 0) -> list[Run]:
    """Return the runs that a budget makes, the first seed of everything first.

    Args:
        budget: smoke, small or paper.
        only: names of experiments; none takes all.
        seeds: of each configuration, from 0; 0 takes as many as the experiment's budget has.

    Raises:
        OptionError: if a name is unknown.
    """
    kinds = {name: KINDS[name] for name in chosen("only", only, KINDS)}
    most = seeds or max(kind.seeds[budget] for kind in kinds.values())
    return [
        run
        for seed in range(most)
        for kind in kinds.values()
        if seed < (seeds or kind.seeds[budget])
        for run in kind.runs(budget, seed)
    ]


def folder_of(run: Run, out: Path) -> Path:
    """Return where a run's record, checkpoint and pictures belong under ``out``."""
    return out / run.experiment


def state_of(run: Run, out: Path) -> State:
    """Return whether the run is recorded, has a checkpoint, or has neither.

    A record that cannot be read is none: the run is then tried, and fails with words on what is wrong with the file.
    """
    folder = folder_of(run, out)
    with suppress(RecordError):
        Record.load(run.record_path(folder))
        return "done"
    return "begun" if run.checkpoint_path(folder).exists() else "missing"


class Queue:
    """Jobs that wait, in their order; one that failed waits behind all others, one whose machine died is next.

    Args:
        runs: to be done.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.waiting = deque(runs)
        self.failures: dict[str, int] = {}
        self.deaths: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def take(self) -> Run:
        """Return the next job."""
        return self.waiting.popleft()

    def again(self, run: Run, *, machine_died: bool = False) -> bool:
        """Put a job back, and return True, unless it was tried often enough.

        Args:
            run: that came to nothing.
            machine_died: under it, which is not held against it.
        """
        counts, most = (self.deaths, DEATHS) if machine_died else (self.failures, TRIES)
        counts[run.name] = counts.get(run.name, 0) + 1
        if counts[run.name] >= most:
            return False
        (self.waiting.appendleft if machine_died else self.waiting.append)(run)
        return True
