"""Timing as a ratio: contenders called in turn in one run, so that a busy machine slows them all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def race(contenders: Mapping[str, Callable[[], object]], seconds: float, least: int = 5) -> dict[str, float]:
    """Time callables side by side.

    Args:
        contenders: what to call, by name.
        seconds: how long to go on for.
        least: rounds at least, whatever they take.

    Returns:
        Seconds of processor time for one call of each: the tenth percentile, since all that another program does to a
        call is to make it longer.
    """
    for call in contenders.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(taken.values()))) < least:
        for name, call in contenders.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return {name: sorted(each)[len(each) // 10] for name, each in taken.items()}
