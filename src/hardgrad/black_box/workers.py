"""Processes that run rows: each gets one at a time, and one that dies or takes too long is replaced."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from multiprocessing import process, spawn, util
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

from hardgrad.black_box.errors import BoxError
from hardgrad.black_box.job import TRIES, Job

START_SECONDS = 60.0  # for imports and the factory, if there is a time limit at all
END_SECONDS = 2.0  # for a worker to end by itself


class Worker:
    """One process, and the number of the row that it runs; None while it waits for one."""

    def __init__(self, first: bytes) -> None:
        self.connection, other = Pipe()
        file = str(Path(__file__).with_name("worker.py"))
        command = [spawn.get_executable(), "-P", file, str(other.fileno()), str(os.getpid())]
        # A process group of its own: Ctrl-C is for the parent alone, and what the program starts ends with the group.
        self.process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, process_group=0)
        other.close()
        self.ready = False
        self.row: int | None = None
        self.since = time.monotonic()
        with contextlib.suppress(OSError):  # that it is dead is seen when its answer is waited for
            self.connection.send_bytes(first)

    def kill(self) -> str:
        """End it and what it started; return how it had ended, if it had by itself."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.connection.close()
        code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Workers:
    """Up to ``count`` processes, started when there are rows for them, that end with this object at the latest.

    Args:
        count: how many at most.
        program: ``(fn, factory, out)``.
        timeout: seconds a row, or None.
        label: whose errors these are.
    """

    def __init__(self, count: int, program: tuple[Any, Any, Any], timeout: float | None, label: str) -> None:
        self._count, self._timeout, self._label = count, timeout, label
        self._first = _first_message(program, label)
        self._alive: list[Worker] = []
        self._failed_starts = 0
        self.close = util.Finalize(self, _end, (self._alive,), exitpriority=10)

    def run(self, job: Job) -> None:
        """Hand out the rows of a job, and take the results in the order in which they come.

        Raises:
            BoxError: for the first row that failed.
        """
        try:
            while job.waiting or any(worker.row is not None for worker in self._alive):
                self._hand_out(job)
                self._collect(job)
        except BaseException:  # Ctrl-C: what each of them is at is not known any more
            for worker in list(self._alive):
                self._drop(worker)
            raise
        if job.failure is not None:
            raise job.failure
        if job.deaths:
            rows = ", ".join(f"{row} ({', '.join(how)})" for row, how in sorted(job.deaths.items()))
            warnings.warn(
                f"{self._label}: workers died and were replaced, and their rows ran again: {rows}", stacklevel=2
            )

    def _hand_out(self, job: Job) -> None:
        for worker in [w for w in self._alive if w.ready and w.row is None]:
            if job.waiting:
                row = job.waiting.popleft()
                worker.row, worker.since = row, time.monotonic()
                job.begun.add(row)
                try:
                    worker.connection.send_bytes(pickle.dumps(job.tasks[row], 5))
                except OSError:  # it died while it had nothing to do
                    job.waiting.appendleft(row)
                    self._drop(worker)
        starting = sum(not worker.ready for worker in self._alive)
        for _ in range(min(self._count - len(self._alive), len(job.waiting) - starting)):
            self._alive.append(Worker(self._first))

    def _collect(self, job: Job) -> None:
        active = {worker.connection: worker for worker in self._alive if not worker.ready or worker.row is not None}
        ends = [end for end in map(self._end_of, active.values()) if end is not None]
        ready = wait(list(active), max(0.0, min(ends) - time.monotonic()) if ends else None)
        for connection, worker in active.items():
            end = self._end_of(worker)
            if connection in ready:
                self._receive(worker, job)
            elif end is not None and time.monotonic() > end:
                self._overdue(worker, job)

    def _end_of(self, worker: Worker) -> float | None:
        if self._timeout is None:
            return None
        return worker.since + (self._timeout if worker.ready else max(START_SECONDS, self._timeout))

    def _receive(self, worker: Worker, job: Job) -> None:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return self._died(worker, job)
        row, worker.row = worker.row, None
        try:
            self._answered(row, message, job)
        except BoxError as error:
            job.stop(error)
            if row is None:
                self._drop(worker)
        worker.ready, self._failed_starts = True, 0
        return None

    def _answered(self, row: int | None, message: bytes, job: Job) -> None:
        try:
            value, trace = pickle.loads(message)
        except Exception as error:
            value, trace = f"what it returned cannot be read here ({error}); give out=, which makes an array of it", ""
        if trace is not None:
            failure = self._cannot_start(value) if row is None else job.fail(row, value)
            raise failure from RuntimeError("in a worker:\n" + trace)
        if row is not None:
            job.take(row, value)

    def _died(self, worker: Worker, job: Job) -> None:
        how = self._drop(worker)
        if worker.row is not None:
            return job.died(worker.row, how)
        self._failed_starts += 1
        if self._failed_starts == TRIES:
            self._failed_starts = 0
            job.stop(self._cannot_start(f"{TRIES} of them died at it, the last by {how}"))
        return None

    def _overdue(self, worker: Worker, job: Job) -> None:
        self._drop(worker)
        if worker.row is None:
            return job.stop(self._cannot_start(f"more than {max(START_SECONDS, self._timeout or 0):g} seconds"))
        return job.stop(
            job.fail(worker.row, f"took longer than timeout={self._timeout:g} seconds, and its worker was ended")
        )

    def _drop(self, worker: Worker) -> str:
        self._alive.remove(worker)
        return worker.kill()

    def _cannot_start(self, why: str) -> BoxError:
        return BoxError(f"{self._label}: a worker could not make the program: {why}")


def _end(alive: list[Worker]) -> None:
    limit = time.monotonic() + END_SECONDS
    for worker in alive:
        worker.connection.close()
    for worker in alive:
        try:
            worker.process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
    alive.clear()


def _first_message(program: tuple[Any, Any, Any], label: str) -> bytes:
    if vars(process.current_process()).get("_inheriting"):
        raise RuntimeError(
            f"{label}: a worker that imports this script may start none; put what runs under if __name__ == '__main__':"
        )
    try:
        body = pickle.dumps(program)
    except Exception as error:
        raise ValueError(
            f"{label}: {'fn' if program[1] is None else 'factory'} or out cannot be sent to workers ({error}); give "
            "factory=, a function of a module that makes the program there"
        ) from error
    preparation = {"sys_path": [entry or os.getcwd() for entry in sys.path], "sys_argv": sys.argv, "dir": os.getcwd()}
    if b"__main__" in body:  # else the user's script is not imported again
        main = sys.modules["__main__"]
        name, file = getattr(main.__spec__, "name", None), getattr(main, "__file__", None)
        preparation |= {"init_main_from_name": name} if name else {"init_main_from_path": file} if file else {}
    return pickle.dumps((preparation, body))
