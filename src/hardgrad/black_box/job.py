"""The rows of one call of a box, and how they are run in this process."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from hardgrad.black_box.arrays import Row
from hardgrad.black_box.errors import BoxError

TRIES = 3  # of a row whose worker dies: a program that kills its worker does so again


class Job:
    """Rows by their numbers, who takes their results, who words a failure, and what happened so far."""

    def __init__(
        self, tasks: Mapping[int, Row], take: Callable[[int, Any], None], fail: Callable[[int, str], BoxError]
    ) -> None:
        self.tasks, self.take, self.fail = tasks, take, fail
        self.waiting = deque(tasks)
        self.begun: set[int] = set()
        self.deaths: dict[int, list[str]] = defaultdict(list)
        self.failure: BoxError | None = None

    def stop(self, failure: BoxError) -> None:
        """Begin no more rows; those that run are waited for."""
        self.failure = self.failure or failure
        self.waiting.clear()

    def died(self, row: int, how: str) -> None:
        """Let a row whose worker died run again, unless it is the row's own doing."""
        self.deaths[row].append(how)
        if len(self.deaths[row]) == TRIES:
            self.stop(self.fail(row, f"{TRIES} workers in turn died of it ({', '.join(self.deaths[row])})"))
        elif self.failure is None:
            self.waiting.appendleft(row)


def run_here(program: Callable[..., Any], out: Callable[[Any], Any] | None, job: Job) -> None:
    """Run the rows of a job one after the other; the first that fails raises."""
    for i, row in job.tasks.items():
        job.begun.add(i)
        step = "the program"
        try:
            value = program(*row)
            if out is not None:
                step = f"out, which got {type(value).__name__} from fn,"
                value = out(value)
        except Exception as error:
            raise job.fail(i, f"{step} raised {type(error).__name__}: {error}") from error
        job.take(i, value)
