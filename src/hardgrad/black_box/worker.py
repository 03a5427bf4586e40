"""What runs in a worker: started as a file, with the standard library alone, so that it is ready in 0.1 s."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import process, spawn
from multiprocessing.connection import Connection
from typing import Any


class Program:
    """What the first message makes, and each further one calls."""

    run: Any
    out: Any
    step = "a worker"  # who raises, for the words of an error

    def make(self, message: bytes) -> None:
        """Import what the parent's ``__main__`` holds if it is needed, then load and make the program."""
        preparation, program = pickle.loads(message)
        vars(process.current_process())["_inheriting"] = True  # a script without a guard would start workers here
        spawn.prepare(preparation)
        del vars(process.current_process())["_inheriting"]
        fn, factory, self.out = pickle.loads(program)
        self.run = fn if factory is None else factory()

    def call(self, message: bytes) -> Any:
        """Return what the program makes of one row."""
        self.step = "the program"
        value = self.run(*pickle.loads(message))
        if self.out is None:
            return value
        self.step = f"out, which got {type(value).__name__} from fn,"
        return self.out(value)


def serve(connection: Any, parent: int) -> None:
    """Answer message after message until the other end is gone."""
    atexit.register(_end_children)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    program = Program()
    act: Callable[[bytes], Any] = program.make
    while True:
        try:
            message = connection.recv_bytes()
            connection.send_bytes(_answer(program, act, message))
        except (EOFError, OSError):
            return
        act = program.call


def _answer(program: Program, act: Callable[[bytes], Any], message: bytes) -> bytes:
    """Return ``(value, None)``, or the error's line and its traceback."""
    try:
        value = act(message)
        try:
            return pickle.dumps((value, None), 5)
        except Exception as error:
            raise TypeError(f"a result cannot be sent back ({error}); give out=, which makes an array") from None
    except BaseException as error:  # sys.exit() too: a worker ends when the box is closed
        return pickle.dumps((f"{program.step} raised {type(error).__name__}: {error}", traceback.format_exc()), 5)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)  # also in the middle of a row, and what the program started


def _end_children() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
