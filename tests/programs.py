"""Programs for boxes in workers; NumPy and the standard library alone, so that a worker starts at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy


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
