"""Programs for boxes in workers; NumPy and the standard library alone, so that a worker starts at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any


def double(row: Any) -> Any:
    return row * 2


def slow(row: Any) -> Any:
    time.sleep(0.01)
    return row * 2


def told(row: Any) -> Any:
    """Does what the first number of a row says: 1 raises, 2 hangs, 3 ends the process, 4 crashes, 5 exits Python."""
    what = int(row[0])
    if what == 1:
        raise ValueError("a knob is stuck")
    if what == 2:
        time.sleep(100)
    if what == 3:
        os._exit(7)
    if what == 4:
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == 5:
        sys.exit("no licence")
    return None if what == 6 else row * 2


def process(row: Any) -> int:
    return os.getpid()


class Instance:
    """What a factory makes: it knows its process, and how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, row: Any) -> list[int]:
        self.runs += 1
        time.sleep(0.005)
        return [os.getpid(), self.runs, int(row[0])]


def broken_factory() -> Any:
    raise OSError("no such plug-in")


def ends_at_once() -> Any:
    os._exit(3)


def starts_another(row: Any) -> Any:
    """Starts a program that outlives it, and waits."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)", f"child of box {int(row[0])}"])
    time.sleep(100)
    return child.pid


def modules(row: Any) -> list[int]:
    return ["torch" in sys.modules, "hardgrad" in sys.modules]


def with_memory(row: Any) -> Any:
    return memoryview(b"")  # cannot be pickled


def printing(row: Any) -> Any:
    print("heard", int(row[0]), flush=True)
    return row


def dies_once(folder: str, row: Any) -> Any:
    """Ends its process the first time that it is asked for a row that is not 0."""
    mark = os.path.join(folder, str(int(row[0])))
    if row[0] and not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(9)
    return row * 2


def waits(row: Any) -> Any:
    time.sleep(float(row[0]))
    return row


def cheapest(cost: Any) -> Any:
    """Picks the cheapest of a row; refuses one whose first cost is 99, as a problem without a solution."""
    if cost[0] == 99:
        raise ValueError("infeasible")
    return (cost == cost.min()) * 1
