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


def clock_of(device: str) -> Callable[[], float]:
    """Return what tells the time of work on a device: of the processor, or on the wall once the device is done."""
    if device == "cpu":
        return time.process_time
    import torch

    def when_done() -> float:
        torch.accelerator.synchronize()
        return time.perf_counter()

    return when_done


def race(contenders: dict[str, Contender], seconds: float, least: int = 5, device: str = "cpu") -> dict[str, float]:
    """Time callables side by side.

    Args:
        contenders: what to time, by name.
        seconds: how long to go on for.
        least: rounds at least, whatever they take.
        device: where they run.

    Returns:
        Seconds of processor time for one call of each, on another device those until it is done: the tenth percentile,
        since all that another program does to a call is to make it longer.
    """
    for contender in contenders.values():
        contender.call()
    clock = clock_of(device)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(taken.values()))) < least:
        for name, contender in contenders.items():
            contender.before()
            start = clock()
            contender.call()
            taken[name].append(clock() - start)
    return {name: sorted(each)[len(each) // 10] for name, each in taken.items()}


def medians(
    contenders: dict[str, Callable[[], object]], rounds: int, warm: int = 2, device: str = "cpu"
) -> dict[str, float]:
    """Time callables side by side by the clock on the wall, which whatever waits or compiles is felt by.

    Args:
        contenders: what to time, by name.
        rounds: calls of each.
        warm: calls of each before that.
        device: where they run; one that is not the CPU is waited for.

    Returns:
        Median seconds of one call of each.
    """
    for call in contenders.values():
        for _ in range(warm):
            call()
    clock = time.perf_counter if device == "cpu" else clock_of(device)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        # Every second round backwards: what one leaves in the caches is the next one's luck.
        for name, call in list(contenders.items())[:: -1 if number % 2 else 1]:
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
