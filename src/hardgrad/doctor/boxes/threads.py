"""Whether two boxes in threads are faster than one after the other, and give the same: if not, processes are better."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import Asked, OutOfTimeError, as_tensor, differs

_LEAST = 0.01  # seconds of work for each, which a thread's start does not show in
_TURNS = 3


def threads(asked: Asked, factory: Callable[[], Callable[..., Any]]) -> str:
    """Return what threads gain, in words."""
    boxes = [factory(), factory()]

    def work(box: Callable[..., Any], times: int) -> Tensor:
        with torch.no_grad():  # which each thread has for itself
            for _ in range(times):
                y = box(*(x.numpy(force=True).copy() if asked.arrays else x.clone() for x in asked.inputs))
        return as_tensor("box must return", y)

    start = time.perf_counter()
    work(boxes[0], 1)
    seconds = time.perf_counter() - start
    times = [max(1, min(1000, int(_LEAST / seconds)))] * 2
    if 4 * _TURNS * times[0] * seconds > asked.deadline - time.perf_counter():
        raise OutOfTimeError
    took, ys = [], []
    with ThreadPoolExecutor(2) as pool:
        for turn in range(2 * _TURNS):
            start = time.perf_counter()
            ys.append([*(pool.map if turn % 2 else map)(work, boxes, times)])
            took.append(time.perf_counter() - start)
    size = max(differs(a, b) for one in ys[1:] for a, b in zip(ys[0], one, strict=True))
    if size and asked.kind == "same":
        asked.find(
            "threads", f"two in threads differ by {size:.1%} from one after the other; use processes", value=size
        )
    gain = min(took[::2]) / min(took[1::2])
    cure = "threads will do" if gain > 1.5 else "to run rows at once give hg.BlackBox workers, which are processes"
    return f"Two in threads are {gain:.1f} times as fast as one after the other: {cure}."
