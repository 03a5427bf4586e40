"""The plain engine: worker processes on this machine, each doing one job at a time.

A worker that dies, of whatever cause, takes its job's time with it and nothing else: another one takes its place, and
the job waits to be tried again. Nothing needs to be installed or set up for it. All that passes between the processes
goes through pipes, a wish to stop too: what holds on Linux holds on macOS and on Windows, where a signal would kill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty
from queue import Queue as Mailbox
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
        with suppress(OSError):  # it died while it waited; reading its answer will say so
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Ask it to save its job and to end, as it does when nobody is left to give it another."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def result(self, line: str) -> Result:
        """Return what came of its job by its answer; a death is a failure."""
        try:
            return Result(**json.loads(line))
        except ValueError:
            code = self.process.wait()
            return Result(status="failed", seconds=0.0, error=f"its process died of {_cause(code)}")

    def dismiss(self) -> None:
        """End it at once, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.stop()


class Workers:
    """So many worker processes, and the jobs they do.

    Args:
        number: of workers.
        setup: how jobs are done.
        devices: names of CUDA devices, handed out in turn; empty leaves the choice to torch.
    """

    def __init__(self, number: int, setup: Setup, devices: Sequence[str]) -> None:
        self.number, self.setup, self.devices = number, setup, devices
        self.mailbox: Mailbox[tuple[Worker, str]] = Mailbox()
        self.workers: dict[int, Worker] = {}

    def do(self, queue: Queue, follower: Follower, stop: Sequence[int]) -> None:
        """Do all jobs of a queue.

        Args:
            queue: of jobs; it is emptied.
            follower: told of every job.
            stop: holds a signal once one arrived: jobs under way are then saved and stopped, and no other begins.
        """
        stopping = False
        try:
            while self._busy() or (queue and not stop):
                while queue and not stop and (place := self._free()) is not None:
                    run = queue.take()
                    self.workers[place].give(run, self.setup)
                    follower.started(run)
                if stop and not stopping:
                    for worker in self._busy():
                        worker.stop()
                    stopping = True
                with suppress(Empty):
                    worker, line = self.mailbox.get(timeout=TICK_S)
                    self._end(worker, line, queue, follower, bool(stop))
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
            # A Ctrl-C of the terminal is for this process, which passes it on.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )
        worker = Worker(process, place)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: Worker) -> None:
        """Bring a worker's answers to the mailbox; its end is an empty one. Pipes cannot be selected on everywhere."""
        with worker.answers as answers:
            for line in answers:
                self.mailbox.put((worker, line))
        self.mailbox.put((worker, ""))

    def _end(self, worker: Worker, line: str, queue: Queue, follower: Follower, stopping: bool) -> None:
        if self.workers.get(worker.number) is not worker:
            return  # the end of one that was dismissed
        run, worker.run = worker.run, None
        result = worker.result(line) if line or run else Result(status="stopped", seconds=0.0)
        if not line or result.status == "stopped":
            del self.workers[worker.number]
            worker.dismiss()
        if run is None:
            return
        if stopping and result.status == "failed":  # a job that has no checkpoint dies of the wish
            result = Result(status="stopped", seconds=result.seconds)
        if result.status == "stopped" and not stopping:  # by somebody else
            result = Result(status="failed", seconds=result.seconds, error="its process was stopped from outside")
        follower.ended(run, result, result.status == "failed" and queue.again(run))

    def _close(self) -> None:
        """Let go of all workers: those that do nothing end at once, others save their job first, by themselves."""
        for worker in list(self.workers.values()):
            (worker.dismiss if worker.run is None else worker.stop)()
        self.workers.clear()


def _cause(code: int) -> str:
    known = {-number.value: number.name for number in signal.Signals}
    return known.get(code, f"exit status {code}")
