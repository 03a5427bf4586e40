"""Seconds of work: those of the wall, without what the process was stopped for."""

from __future__ import annotations

import time

PAUSE_S = 5.0  # a reading so long after the last one is looked at
IDLE = 0.01  # share of a core below which the process did not run in between: stopped, or the machine asleep


class Stopwatch:
    """Measures a loop that reads it at every step, so that ``SIGSTOP`` or a laptop's night count for nothing.

    Wall seconds count as they are while the process runs, whoever shares its cores. A step of more than five seconds in
    which it used less than a hundredth of a core was a pause, and counts for its processor time alone.

    Args:
        seconds: counted before.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.wall, self.work = time.monotonic(), time.process_time()

    def read(self) -> float:
        """Return the seconds until now."""
        wall, work = time.monotonic(), time.process_time()
        passed, worked = wall - self.wall, work - self.work
        self.seconds += worked if passed > PAUSE_S and worked < IDLE * passed else passed
        self.wall, self.work = wall, work
        return self.seconds
