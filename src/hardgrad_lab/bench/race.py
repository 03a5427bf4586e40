"""Timing as a ratio: contenders called in turn in one run, so that a busy machine slows them all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """What to time, and what to do before each call that is not timed."""

    call: Callable[[], object]
    before: Callable[[], object] = lambda: None


def race(contenders: dict[str, Contender], seconds: float, least: int = 5) -> dict[str, float]:
    """Time callables side by side.

    Args:
        contenders: what to time, by name.
        seconds: how long to go on for.
        least: rounds at least, whatever they take.

    Returns:
        Seconds of processor time for one call of each: the tenth percentile, since all that another program does to a
        call is to make it longer.
    """
    for contender in contenders.values():
        contender.call()
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(taken.values()))) < least:
        for name, contender in contenders.items():
            contender.before()
            start = time.process_time()
            contender.call()
            taken[name].append(time.process_time() - start)
    return {name: sorted(each)[len(each) // 10] for name, each in taken.items()}


def medians(contenders: dict[str, Callable[[], object]], rounds: int, warm: int = 2) -> dict[str, float]:
    """Time callables side by side by the clock on the wall, which whatever waits or compiles is felt by.

    Args:
        contenders: what to time, by name.
        rounds: calls of each.
        warm: calls of each before that.

    Returns:
        Median seconds of one call of each.
    """
    for call in contenders.values():
        for _ in range(warm):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        # Every second round backwards: what one leaves in the caches is the next one's luck.
        for name, call in list(contenders.items())[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
