"""The plan itself: the runs of a budget in their order, which of them are done, and what is still to be tried."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from hardgrad_lab.plan.groups import Group
from hardgrad_lab.runs.record import Record, RecordError, Run

State = Literal["done", "begun", "missing"]
TRIES = 2  # of a job that fails, or that takes its process down
DEATHS = 10  # of machines under a job, none of which need be its fault


def in_order(groups: Iterable[Group], *, by_seed: bool) -> list[Run]:
    """Return the runs of a plan in the order in which they are done.

    Args:
        groups: of the plan.
        by_seed: the first seed of everything before the second of anything, instead of group after group.
    """
    runs = [run for group in groups for run in group.runs]
    return sorted(runs, key=lambda run: run.seed) if by_seed else runs


def folder_of(run: Run, out: Path) -> Path:
    """Return where a run's record, checkpoint and pictures belong under ``out``.

    In a folder of the experiment's; in ``out`` itself where ``hardgrad reproduce NAME`` has begun or done the run.
    """
    begun = run.record_path(out).exists() or run.checkpoint_path(out).exists()
    return out if begun else out / run.experiment


def record_of(run: Run, out: Path) -> Record | None:
    """Return the record of a run; None where there is none that can be read.

    A damaged record is none: the run is then tried, and fails with words on what is wrong with the file.
    """
    with suppress(RecordError):
        return Record.load(run.record_path(folder_of(run, out)))
    return None


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
