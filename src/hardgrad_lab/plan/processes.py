"""The plain engine: worker processes on this machine, each doing one job at a time.

A worker that dies, of whatever cause, takes its job's time with it and nothing else: another one takes its place, and
the job waits to be tried again. Nothing needs to be installed or set up for it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Protocol

from hardgrad_lab.plan.jobs import Queue
from hardgrad_lab.plan.work import Result, Setup
from hardgrad_lab.runs.record import Run

TICK_S = 0.5


class Follower(Protocol):
    """Whoever follows a plan."""

    def started(self, run: Run) -> None:
        """See a job begin."""
        ...

    def ended(self, run: Run, result: Result, again: bool) -> None:
        """See what came of it, and whether it will be tried again."""
        ...

    def tick(self) -> None:
        """See time pass."""
        ...


@dataclass
class Worker:
    """A worker process and its job.

    Args:
        process: of ``plan.worker``.
        number: its place among the workers.
        run: the job under way.
    """

    process: subprocess.Popen[str]
    number: int
    run: Run | None = None

    @property
    def answers(self) -> IO[str]:
        """Return where its answers are read."""
        assert self.process.stdout is not None
        return self.process.stdout

    def give(self, run: Run, setup: Setup) -> None:
        """Hand it a job."""
        assert self.process.stdin is not None
        question = {"run": asdict(run), "setup": setup.as_json()}
        self.run = run
        with suppress(BrokenPipeError):  # it died while it waited; reading its answer will say so
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()

    def answer(self) -> Result:
        """Return what came of its job; a death is a failure."""
        line = self.answers.readline()
        try:
            return Result(**json.loads(line))
        except ValueError:
            code = self.process.wait()
            return Result(status="failed", seconds=0.0, error=f"its process died of {_cause(code)}")


class Workers:
    """So many worker processes, and the jobs they do.

    Args:
        number: of workers.
        setup: how jobs are done.
        devices: names of CUDA devices, handed out in turn; empty leaves the choice to torch.
    """

    def __init__(self, number: int, setup: Setup, devices: Sequence[str]) -> None:
        self.number, self.setup, self.devices = number, setup, devices
        self.selector = selectors.DefaultSelector()
        self.workers: dict[int, Worker] = {}

    def do(self, queue: Queue, follower: Follower, stop: Sequence[int]) -> None:
        """Do all jobs of a queue.

        Args:
            queue: of jobs; it is emptied.
            follower: told of every job.
            stop: holds a signal once one arrived: jobs under way are then stopped as by that signal, and no other
                begins.
        """
        told = False
        try:
            while queue or self._busy():
                while queue and not stop and (place := self._free()) is not None:
                    run = queue.take()
                    self.workers[place].give(run, self.setup)
                    follower.started(run)
                if stop and not told:
                    self._tell_all(signal.SIGTERM)
                    told = True
                if stop and not self._busy():
                    return
                for key, _ in self.selector.select(TICK_S):
                    self._end(key.data, queue, follower, bool(stop))
                follower.tick()
        finally:
            self._close()

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.run is not None]

    def _free(self) -> int | None:
        """Return the place of a worker without a job, starting one if there is room; None where there is none."""
        for place in range(self.number):
            if place not in self.workers:
                self.workers[place] = self._start(place)
            if self.workers[place].run is None:
                return place
        return None

    def _start(self, place: int) -> Worker:
        # The users' own modules may lie anywhere on this process's path; one thread each, or they fight over cores.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[place % len(self.devices)]
        process = subprocess.Popen(
            [sys.executable, "-m", "hardgrad_lab.plan.worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C of the terminal is for this process, which passes it on
        )
        worker = Worker(process, place)
        self.selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def _end(self, worker: Worker, queue: Queue, follower: Follower, stopping: bool) -> None:
        run, worker.run = worker.run, None
        result = worker.answer()
        if worker.process.poll() is not None or result.status == "stopped":
            self._dismiss(worker)
        if run is None:
            return
        if stopping and result.status == "failed":  # a job that has no checkpoint dies of the signal
            result = Result(status="stopped", seconds=result.seconds)
        follower.ended(run, result, result.status == "failed" and queue.again(run))

    def _dismiss(self, worker: Worker) -> None:
        self.selector.unregister(worker.answers)
        del self.workers[worker.number]
        worker.process.kill()
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            with suppress(BrokenPipeError):  # a job was handed to a worker that had died
                if pipe is not None:
                    pipe.close()

    def _tell_all(self, number: int) -> None:
        for worker in self._busy():
            worker.process.send_signal(number)

    def _close(self) -> None:
        for worker in list(self.workers.values()):
            self._dismiss(worker)
        self.selector.close()


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
